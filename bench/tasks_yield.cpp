// Question (W2, W2b): what does it cost a task to let the others run?
// N tasks yield in turn until each has done so `per task` times. Unit: time per yield ("per_yield"). Good: 12
// ns with one worker (about three raw switches), 20 ns with two. Not measured: waking somebody who sleeps.
#include <vector>

#include "support.hpp"

static void yield(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    const long tasks = run.range(1);
    const long per_task = 1'000'000 / tasks;
    for (auto _ : run) {
      std::vector<fibrio::Task<>> running;
      for (long i = 0; i < tasks; ++i) {
        running.push_back(fibrio::create_task([per_task] {
          for (long k = 0; k < per_task; ++k) fibrio::yield();
        }));
      }
      for (const auto& task : running) fibrio::await(task);
    }
    bench::per(run, "per_yield", static_cast<double>(tasks * per_task));
  });
}
BENCHMARK(yield)
    ->ArgNames({"workers", "tasks"})
    ->Args({1, 1000})
    ->Args({2, 1000})
    ->Args({1, 2})
    ->Args({2, 2})
    ->UseRealTime()
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond);

// Question: two tasks hand a turn to each other through futures; each way is a future made, a wait, a
// wake-up. Unit: time per round trip ("per_trip").
static void ping_pong_futures(benchmark::State& state) {
  constexpr int kTrips = 100'000;
  bench::in_loop(state, [](benchmark::State& run) {
    struct Table {
      fibrio::Future<> ping, pong;
    };
    auto& loop = fibrio::get_running_loop();
    for (auto _ : run) {
      Table table{loop.create_future(), loop.create_future()};
      auto other = fibrio::create_task([&table, &loop] {
        for (int i = 0; i < kTrips; ++i) {
          fibrio::await(table.ping);
          table.ping = loop.create_future();
          fibrio::Future<> pong = table.pong;  // a handle of one's own: the partner replaces the shared one
          pong.set_result();
        }
      });
      for (int i = 0; i < kTrips; ++i) {
        fibrio::Future<> pong = table.pong;
        fibrio::Future<> ping = table.ping;
        ping.set_result();
        fibrio::await(pong);
        table.pong = loop.create_future();
      }
      fibrio::await(other);
    }
    bench::per(run, "per_trip", kTrips);
  });
}
BENCHMARK(ping_pong_futures)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
