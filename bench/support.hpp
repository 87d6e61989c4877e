// What: what the benches share: a loop per benchmark with the number of workers as first argument.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <utility>

#include "fibrio/fibrio.hpp"

namespace bench {

// Runs `body(state)` as the main task of a loop with state.range(0) workers.
template <class Body>
void in_loop(benchmark::State& state, Body body) {
  fibrio::Config config;
  config.workers = static_cast<std::size_t>(state.range(0));
  fibrio::run([&] { body(state); }, config);
}

// Registers a benchmark for one and two workers; real time counts, as the work is on several threads.
inline void one_and_two_workers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("workers")->Arg(1)->Arg(2)->UseRealTime()->MeasureProcessCPUTime();
}

// Tells the time per unit, of which an iteration has `units`, beside that of the iteration.
inline void per(benchmark::State& run, const char* name, double units) {
  run.counters[name] =
      benchmark::Counter(units, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

}  // namespace bench
