// Question (W5): 1,000,000 tasks each sleep a pseudo-random 1..1000 ms; wait for all. Units: CPU s, wall s,
// peak RSS. Good: 1.9 s of CPU, 4.7 GiB. Most of it is the first touch of a million stacks. Not measured: how
// late they wake.
#include <sys/resource.h>

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

BENCHMARK_MAIN();
