// Question (W1): what does a task cost from creation to join, when it does nothing?
// One root task spawns 100 no-op tasks and awaits them all. Unit: time per task ("per_task").
// Good: 50 ns with one worker. Not measured: cold stacks, tasks that wait.
#include <vector>

#include "support.hpp"

static void spawn_and_join_100(benchmark::State& state) {
  constexpr int kTasks = 100;
  bench::in_loop(state, [](benchmark::State& run) {
    std::vector<fibrio::Task<>> tasks;
    tasks.reserve(kTasks);
    for (auto _ : run) {
      for (int i = 0; i < kTasks; ++i) tasks.push_back(fibrio::create_task([] {}));
      for (const auto& task : tasks) fibrio::await(task);
      tasks.clear();
    }
    run.counters["per_task"] = benchmark::Counter(
        kTasks, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  });
}
BENCHMARK(spawn_and_join_100)->Apply(bench::one_and_two_workers);

static long skynet(long base, long leaves) {
  constexpr long kFanOut = 10;
  if (leaves == 1) return base;
  std::vector<fibrio::Task<long>> children;
  children.reserve(kFanOut);
  const long share = leaves / kFanOut;
  for (long i = 0; i < kFanOut; ++i) children.push_back(fibrio::create_task(skynet, base + i * share, share));
  long sum = 0;
  for (auto& child : children) sum += fibrio::await(std::move(child));
  return sum;
}

// Question (W4): a tree of tasks with fan-out 10 and 1,000,000 leaves, summed through task results. Unit:
// time of all.
static void skynet_million(benchmark::State& state) {
  static constexpr long kLeaves = 1'000'000;
  bench::in_loop(state, [](benchmark::State& run) {
    for (auto _ : run) {
      const long sum = fibrio::await(fibrio::create_task(skynet, 0L, kLeaves));
      if (sum != kLeaves * (kLeaves - 1) / 2) run.SkipWithError("wrong sum");
    }
  });
}
BENCHMARK(skynet_million)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond)->Iterations(3);

BENCHMARK_MAIN();
