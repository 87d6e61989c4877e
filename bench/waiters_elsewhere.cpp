// Question: does an operation get dearer when many tasks wait somewhere else? Each benchmark runs one operation on
// its own primitive while `waiters` tasks wait on another of the same kind. Unit: time per operation ("per_op").
// Good: the same figure with 0 and with 100,000 waiters; what differs is the memory that the waiters' stacks
// take from the caches. Not measured: many waiters on the primitive itself.
#include <memory>
#include <mutex>
#include <vector>

#include "support.hpp"

namespace {

constexpr int kRounds = 100'000;

// `wait` is what the others do until `release`; `operate` is what is measured.
template <class Wait, class Release, class Operate>
void beside(benchmark::State& state, Wait wait, Release release, Operate operate) {
  bench::in_loop(state, [&](benchmark::State& run) {
    std::vector<fibrio::Task<>> waiters;
    for (std::int64_t i = 0; i < run.range(1); ++i) waiters.push_back(fibrio::create_task(wait));
    fibrio::sleep(std::chrono::milliseconds(1));
    for (auto _ : run) {
      for (int i = 0; i < kRounds; ++i) operate();
    }
    bench::per(run, "per_op", kRounds);
    release();
    for (const auto& waiter : waiters) fibrio::await(waiter);
  });
}

void lock(benchmark::State& state) {
  fibrio::Lock held;
  fibrio::Lock mine;
  held.lock();
  beside(
      state, [&] { const std::lock_guard guard(held); }, [&] { held.unlock(); },
      [&] { const std::lock_guard guard(mine); });
}

void event(benchmark::State& state) {
  fibrio::Event other;
  fibrio::Event mine;
  beside(
      state, [&] { other.wait(); }, [&] { other.set(); },
      [&] {
        mine.set();
        mine.wait();
        mine.clear();
      });
}

void semaphore(benchmark::State& state) {
  fibrio::Semaphore other(0);
  fibrio::Semaphore mine(1);
  beside(
      state, [&] { other.acquire(), other.release(); }, [&] { other.release(); },
      [&] {
        mine.acquire();
        mine.release();
      });
}

void queue(benchmark::State& state) {
  fibrio::Queue<int> other;
  fibrio::Queue<int> mine;
  beside(
      state, [&] { static_cast<void>(other.get()); },
      [&] {
        for (std::int64_t i = 0; i < state.range(1); ++i) other.put(0);
      },
      [&] {
        mine.put(1);
        static_cast<void>(mine.get());
      });
}

void arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"workers", "waiters"})
      ->Args({1, 0})
      ->Args({1, 1'000})
      ->Args({1, 100'000})
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

BENCHMARK(lock)->Apply(arguments);
BENCHMARK(event)->Apply(arguments);
BENCHMARK(semaphore)->Apply(arguments);
BENCHMARK(queue)->Apply(arguments);

BENCHMARK_MAIN();
