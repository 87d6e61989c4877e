// What: the compute questions of the comparison (../questions.py) on Boost.Fiber: round_robin on one thread,
// work_stealing (suspending) on several; stacks of 16 KiB without guards, as a million of its default ones do
// not fit. The stacks are plain ones from malloc: Boost.Context's pool has no lock for several threads, takes
// half as much memory again, and is as fast on one once malloc does not give memory back after every round.
// Not asked: W11 (no blocking pool), W13 (no cancellation).
#include <malloc.h>

#include <atomic>
#include <boost/fiber/all.hpp>
#include <mutex>
#include <thread>

#include "support.hpp"

namespace {

namespace fibers = boost::fibers;
using namespace std::chrono_literals;
using compare::Answer;
using compare::Stopwatch;

constexpr std::size_t kStack = 16 * 1024;

template <class F>
fibers::fiber start(F&& function) {
  return fibers::fiber(std::allocator_arg, fibers::fixedsize_stack(kStack), std::forward<F>(function));
}

using Fibers = std::vector<fibers::fiber>;
void join(Fibers& running) {
  for (auto& fiber : running) fiber.join();
}
long sum_of(const std::vector<long>& values) {
  long sum = 0;
  for (const long value : values) sum += value;
  return sum;
}

Answer spawn_and_join(long rounds) {  // W1
  constexpr int kTasks = 100;
  long joined = 0;
  Fibers running;
  running.reserve(kTasks);
  const Stopwatch watch;
  for (long round = 0; round < rounds; ++round) {
    for (int i = 0; i < kTasks; ++i) running.push_back(start([] {}));
    for (auto& fiber : running) fiber.join(), ++joined;
    running.clear();
  }
  return compare::per_unit(watch.spent(), static_cast<double>(rounds) * kTasks, joined);
}

Answer yields(std::size_t count, long each) {
  std::vector<long> done(count);
  Fibers running;
  const Stopwatch watch;
  for (long& mine : done) {
    running.push_back(start([&mine, each] {
      long own = 0;
      for (; own < each; ++own) boost::this_fiber::yield();
      mine = own;
    }));
  }
  join(running);
  return compare::per_unit(watch.spent(), static_cast<double>(count) * static_cast<double>(each),
                           sum_of(done));
}
Answer yield_many(long each) { return yields(1'000, each); }  // W2
Answer yield_two(long each) { return yields(2, each); }       // W2b

Answer ping_pong(long trips) {          // W3
  constexpr std::size_t kHoldsOne = 2;  // a channel holds one item less than its capacity
  fibers::buffered_channel<long> there(kHoldsOne);
  fibers::buffered_channel<long> back(kHoldsOne);
  auto echo = start([&] {
    for (long i = 0; i < trips; ++i) back.push(there.value_pop());
  });
  long sum = 0;
  const Stopwatch watch;
  for (long i = 0; i < trips; ++i) {
    there.push(i);
    sum += back.value_pop();
  }
  const auto spent = watch.spent();
  echo.join();
  return compare::per_unit(spent, static_cast<double>(trips), sum);
}

void skynet_node(long base, long leaves, long& result) {
  constexpr long kFanOut = 10;
  if (leaves == 1) {
    result = base;
    return;
  }
  std::vector<long> sums(kFanOut);
  Fibers children;
  children.reserve(kFanOut);
  const long share = leaves / kFanOut;
  for (long i = 0; i < kFanOut; ++i) {
    children.push_back(start([base, share, i, &sums] {
      skynet_node(base + i * share, share, sums[static_cast<std::size_t>(i)]);
    }));
  }
  join(children);
  result = sum_of(sums);
}
Answer skynet(long leaves) {  // W4
  long sum = 0;
  const Stopwatch watch;
  start([&] { skynet_node(0, leaves, sum); }).join();
  return compare::in_ms(watch.spent(), sum);
}

Answer sleep_many(long count) {  // W5
  std::vector<long> woken(static_cast<std::size_t>(count));
  Fibers running;
  running.reserve(woken.size());
  const Stopwatch watch;
  for (long i = 0; i < count; ++i) {
    running.push_back(start([i, &woken] {
      boost::this_fiber::sleep_for((1 + i * 7919 % 1000) * 1ms);
      woken[static_cast<std::size_t>(i)] = 1;
    }));
  }
  join(running);
  const auto spent = watch.spent();
  return {spent.cpu_ns / 1e9, spent.cpu_ns / 1e9, sum_of(woken),
          compare::pair("wall_s", spent.wall_ns / 1e9)};
}

Answer overshoot(long sleeps) {  // W6
  return compare::overshoot(sleeps, [] { boost::this_fiber::sleep_for(1ms); });
}

Answer parked_memory(long count) {  // W7
  fibers::promise<void> event;
  const fibers::shared_future<void> set = event.get_future().share();
  std::atomic<long> parked{0};
  std::vector<long> woken(static_cast<std::size_t>(count));
  Fibers running;
  running.reserve(woken.size());
  const auto before = compare::memory();
  for (long& mine : woken) {
    running.push_back(start([&] {
      parked.fetch_add(1, std::memory_order_relaxed);
      set.wait();
      mine = 1;
    }));
  }
  while (parked.load(std::memory_order_relaxed) < count) boost::this_fiber::sleep_for(10ms);
  boost::this_fiber::sleep_for(10ms);
  const auto after = compare::memory();
  event.set_value();
  join(running);
  const auto units = static_cast<double>(count);
  return {(after.resident - before.resident) / units, 0, sum_of(woken),
          compare::pair("page_tables", (after.page_tables - before.page_tables) / units)};
}

long fib(long n) {
  if (n < 2) return n;
  long first = 0;
  auto child = start([&] { first = fib(n - 1); });
  const long other = fib(n - 2);
  child.join();
  return first + other;
}
Answer fork_join(long n) {  // W10
  const Stopwatch watch;
  const long result = fib(n);
  return compare::in_ms(watch.spent(), result);
}

Answer many_to_many(long items) {  // W12
  constexpr long kTasks = 4;
  fibers::buffered_channel<long> channel(1024);
  std::vector<long> sums(kTasks);
  Fibers running;
  const long each = items / kTasks;
  const Stopwatch watch;
  for (long& sum : sums) {
    running.push_back(start([&] {
      for (long i = 0; i < each; ++i) channel.push(i);
    }));
    running.push_back(start([&] {
      long own = 0;
      for (long i = 0; i < each; ++i) own += channel.value_pop();
      sum = own;
    }));
  }
  join(running);
  return compare::per_unit(watch.spent(), static_cast<double>(each * kTasks), sum_of(sums));
}

Answer lock_shared(long each) {  // W14
  constexpr int kTasks = 8;
  fibers::mutex lock;
  long counter = 0;
  Fibers running;
  const Stopwatch watch;
  for (int t = 0; t < kTasks; ++t) {
    running.push_back(start([&] {
      for (long i = 0; i < each; ++i) {
        const std::lock_guard guard(lock);
        ++counter;
      }
    }));
  }
  join(running);
  return compare::per_unit(watch.spent(), static_cast<double>(each) * kTasks, counter);
}

constexpr compare::Entry kQuestions[] = {
    {"W1", spawn_and_join}, {"W2", yield_many},    {"W2b", yield_two},   {"W3", ping_pong},
    {"W4", skynet},         {"W5", sleep_many},    {"W6", overshoot},    {"W7", parked_memory},
    {"W10", fork_join},     {"W12", many_to_many}, {"W14", lock_shared},
};

// Runs the question on fibers of this thread and of `workers - 1` more that steal from one another.
Answer on_all_threads(int workers, compare::Question question, long size) {
  if (workers == 1) return question(size);
  const auto join_in = [workers] {
    fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(static_cast<std::uint32_t>(workers), true);
  };
  fibers::mutex mutex;
  fibers::condition_variable ended;
  bool end = false;
  std::vector<std::thread> others;
  for (int i = 1; i < workers; ++i) {
    others.emplace_back([&] {
      join_in();
      std::unique_lock lock(mutex);
      ended.wait(lock, [&] { return end; });
    });
  }
  join_in();
  const Answer answer = question(size);
  {
    const std::lock_guard lock(mutex);
    end = true;
  }
  ended.notify_all();
  for (auto& thread : others) thread.join();
  return answer;
}

}  // namespace

int main(int argc, char** argv) {
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  const auto arguments = compare::parse(argc, argv);
  const auto question = compare::find(kQuestions, arguments);
  compare::print(arguments, on_all_threads(arguments.workers, question, arguments.size));
}
