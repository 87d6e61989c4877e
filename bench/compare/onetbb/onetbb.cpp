// What: the fork-join questions of the comparison (W4, W10, see ../questions.py) on oneTBB's task_group. It
// is no runtime for tasks that wait: these are the yardstick for what fork-join alone can cost.
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include "support.hpp"

namespace {

using compare::Answer;
using compare::Stopwatch;

long skynet_node(long base, long leaves) {
  constexpr long kFanOut = 10;
  if (leaves == 1) return base;
  std::vector<long> sums(kFanOut);
  tbb::task_group children;
  const long share = leaves / kFanOut;
  for (long i = 0; i < kFanOut; ++i) {
    children.run([&sums, base, share, i] {
      sums[static_cast<std::size_t>(i)] = skynet_node(base + i * share, share);
    });
  }
  children.wait();
  long sum = 0;
  for (const long part : sums) sum += part;
  return sum;
}
Answer skynet(long leaves) {  // W4
  const Stopwatch watch;
  const long sum = skynet_node(0, leaves);
  return compare::in_ms(watch.spent(), sum);
}

long fib(long n) {
  if (n < 2) return n;
  long first = 0;
  tbb::task_group child;
  child.run([&first, n] { first = fib(n - 1); });
  const long other = fib(n - 2);
  child.wait();
  return first + other;
}
Answer fork_join(long n) {  // W10
  const Stopwatch watch;
  const long result = fib(n);
  return compare::in_ms(watch.spent(), result);
}

constexpr compare::Entry kQuestions[] = {{"W4", skynet}, {"W10", fork_join}};

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = compare::parse(argc, argv);
  const auto question = compare::find(kQuestions, arguments);
  const auto threads = static_cast<std::size_t>(arguments.workers);
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
  tbb::task_arena arena(arguments.workers);
  compare::print(arguments, arena.execute([&] { return question(arguments.size); }));
}
