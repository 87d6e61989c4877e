// Question (W3): what does it cost to hand an item to another task and get one back? Two tasks, two queues of
// capacity 1. Unit: time per round trip ("per_trip"). Good: 90 ns with one worker (two puts, two gets, two
// switches), 150 ns with two. Not measured: large items; tasks that are on different workers on purpose.
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
    bench::per(run, "per_trip", kTrips);
  });
}
BENCHMARK(ping_pong_queues)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
