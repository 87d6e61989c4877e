// Question (W1): what does a task cost from creation to join, when it does nothing?
// One root task spawns 100 no-op tasks and awaits them all. Unit: time per task ("per_task").
// Good: 50 ns with one worker, 100 ns with two. Not measured: cold stacks, tasks that wait.
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
    bench::per(run, "per_task", kTasks);
  });
}
BENCHMARK(spawn_and_join_100)->Apply(bench::one_and_two_workers);

BENCHMARK_MAIN();
