// Question (W12): what does an item cost that goes through a queue? 4 producers, 4 consumers, one queue of
// capacity 1024. Unit: time per item ("per_item"). Good: 17 ns with one worker, 60 ns with two. With two
// workers there are two kinds of runs: one worker does all of it, or both are at the queue; which one comes
// is chance. Not measured: large items.
#include <vector>

#include "support.hpp"

static void many_to_many(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    constexpr int kTasks = 4;
    constexpr int kPerTask = 1'000'000;
    fibrio::Queue<int> queue(1024);
    for (auto _ : run) {
      std::vector<fibrio::Task<>> tasks;
      for (int t = 0; t < kTasks; ++t) {
        tasks.push_back(fibrio::create_task([&] {
          for (int i = 0; i < kPerTask; ++i) queue.put(i);
        }));
        tasks.push_back(fibrio::create_task([&] {
          long sum = 0;
          for (int i = 0; i < kPerTask; ++i) sum += queue.get();
          benchmark::DoNotOptimize(sum);
        }));
      }
      for (const auto& task : tasks) fibrio::await(task);
    }
    bench::per(run, "per_item", static_cast<double>(kTasks) * kPerTask);
  });
}
BENCHMARK(many_to_many)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
