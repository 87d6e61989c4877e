// Question (W5): 1,000,000 tasks each sleep a pseudo-random 1..1000 ms; wait for all. Units: CPU s, wall s,
// peak RSS. Good: 2 s of CPU. Most of it is the first touch of a million stacks. Question (W6): how much
// later than asked does sleep(1 ms) return on an idle loop? Unit: us, p50 and p99.
#include <sys/resource.h>

#include <algorithm>
#include <vector>

#include "support.hpp"

using namespace std::chrono_literals;

static void sleep_million(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    constexpr int kTasks = 1'000'000;
    for (auto _ : run) {
      std::vector<fibrio::Task<>> tasks;
      tasks.reserve(kTasks);
      for (long i = 0; i < kTasks; ++i) {
        tasks.push_back(fibrio::create_task([i] { fibrio::sleep((1 + i * 7919 % 1000) * 1ms); }));
      }
      for (const auto& task : tasks) fibrio::await(task);
    }
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    run.counters["peak_rss_mib"] = static_cast<double>(usage.ru_maxrss) / 1024;
  });
}
BENCHMARK(sleep_million)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond)->Iterations(1);

static void sleep_overshoot(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    std::vector<double> late;
    for (auto _ : run) {
      const auto before = std::chrono::steady_clock::now();
      fibrio::sleep(1ms);
      const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - before;
      late.push_back(took.count() - 1000);
    }
    std::sort(late.begin(), late.end());
    run.counters["p50_us"] = late[late.size() / 2];
    run.counters["p99_us"] = late[late.size() * 99 / 100];
    run.counters["min_us"] = late.front();
  });
}
BENCHMARK(sleep_overshoot)->Apply(bench::one_and_two_workers)->Iterations(2000);

BENCHMARK_MAIN();
