// Question (W14): what does a lock cost? Alone, and when 8 tasks lock and unlock the same one in turn, with a
// critical section of a few instructions. Unit: time per lock and unlock ("per_op"). Good: 10 ns alone, 12 ns
// contended with one worker, 80 ns with two. Contended means here that each unlock hands the lock on: with
// one worker nobody finds it locked, since nobody waits inside; "handed_on" yields inside, so that each
// operation is a wait. Not measured: long critical sections.
#include <mutex>
#include <vector>

#include "support.hpp"

static void lock_alone(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    constexpr int kRounds = 1'000'000;
    fibrio::Lock lock;
    for (auto _ : run) {
      for (int i = 0; i < kRounds; ++i) {
        lock.lock();
        lock.unlock();
      }
    }
    bench::per(run, "per_op", kRounds);
  });
}
BENCHMARK(lock_alone)->ArgName("workers")->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

static void contend(benchmark::State& state, int rounds, bool yields_inside) {
  bench::in_loop(state, [=](benchmark::State& run) {
    constexpr int kTasks = 8;
    fibrio::Lock lock;
    long counter = 0;
    for (auto _ : run) {
      std::vector<fibrio::Task<>> tasks;
      for (int t = 0; t < kTasks; ++t) {
        tasks.push_back(fibrio::create_task([&] {
          for (int i = 0; i < rounds; ++i) {
            const std::lock_guard guard(lock);
            ++counter;
            if (yields_inside) fibrio::yield();
          }
        }));
      }
      for (const auto& task : tasks) fibrio::await(task);
    }
    benchmark::DoNotOptimize(counter);
    bench::per(run, "per_op", static_cast<double>(kTasks) * rounds);
  });
}
static void lock_contended(benchmark::State& state) { contend(state, 500'000, false); }
BENCHMARK(lock_contended)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);
static void lock_handed_on(benchmark::State& state) { contend(state, 50'000, true); }
BENCHMARK(lock_handed_on)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
