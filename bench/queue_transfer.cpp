// Question (W3, W12): what does it cost to hand an item from task to task? Unit: time per round trip over two
// queues of capacity 1 ("per_trip"), and per item of 4 producers and 4 consumers over one queue of capacity
// 1024 ("per_item"). Good: 90 ns per trip with one worker (two puts, two gets, two switches), 35 ns per item.
// With two workers the second has two kinds of runs: one worker does all of it (18 ns), or both are at the
// queue (80 to 95 ns); which one comes is chance. Not measured: large items.
#include <vector>

#include "support.hpp"

static void ping_pong_queues(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    constexpr int kTrips = 200'000;
    fibrio::Queue<int> there(1);
    fibrio::Queue<int> back(1);
    for (auto _ : run) {
      auto echo = fibrio::create_task([&] {
        for (int i = 0; i < kTrips; ++i) back.put(there.get());
      });
      for (int i = 0; i < kTrips; ++i) {
        there.put(i);
        benchmark::DoNotOptimize(back.get());
      }
      fibrio::await(echo);
    }
    run.counters["per_trip"] = benchmark::Counter(
        kTrips, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  });
}
BENCHMARK(ping_pong_queues)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

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
    run.counters["per_item"] =
        benchmark::Counter(static_cast<double>(kTasks) * kPerTask,
                           benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  });
}
BENCHMARK(many_to_many)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
