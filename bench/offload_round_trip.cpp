// Question (W11): what does a task pay for a call on the blocking pool that does nothing? Unit: time per
// call. Good: 10 us; two thread wake-ups are in it. Not measured: many calls at a time.
#include "support.hpp"

static void to_thread_noop(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    for (auto _ : run) fibrio::to_thread([] {});
  });
}
BENCHMARK(to_thread_noop)->Apply(bench::one_and_two_workers);

BENCHMARK_MAIN();
