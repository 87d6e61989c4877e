// Question (W10): what does fork and join cost where tasks do almost nothing? fib(30), every call with n >= 2
// spawns one child and joins it: 1.3 million tasks. Units: time of all, and per task ("per_task"). Good: 130
// ms with one worker, 75 ms with two. Not measured: work that is worth a task.
#include "support.hpp"

static long fib(long n) {
  if (n < 2) return n;
  auto child = fibrio::create_task(fib, n - 1);
  const long other = fib(n - 2);
  return fibrio::await(std::move(child)) + other;
}

static void fib_30(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    constexpr double kTasks = 1'346'268;
    for (auto _ : run) {
      if (fib(30) != 832'040) run.SkipWithError("wrong result");
    }
    bench::per(run, "per_task", kTasks);
  });
}
BENCHMARK(fib_30)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
