// Question: what does a task pay for going through each of the run queues?
// Unit: ns per item (items_per_second is its inverse); CPU time of the owner's thread.
// A good answer: LocalQueue under 2 ns; the ring's push + pop two locked instructions (about 10 ns each), one
// with push_back_quiet; the LIFO slot in + out one; a steal spread over what it brings a few ns.
// Does not measure: waking a worker, and cache misses on what the items carry.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "queue/inject_queue.hpp"
#include "queue/lifo_slot.hpp"
#include "queue/local_queue.hpp"
#include "queue/run_queue.hpp"

namespace fibrio::detail {
namespace {

constexpr std::size_t kBatch = 128;  // half the ring: what a steal from a full one brings

void local_push_pop(benchmark::State& state) {
  const auto items = std::make_unique<Runnable[]>(kBatch);
  LocalQueue queue;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) queue.push_back(&items[i]);
    for (std::size_t i = 0; i < kBatch; ++i) benchmark::DoNotOptimize(queue.pop_front());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(local_push_pop);

void ring_push_pop(benchmark::State& state) {
  const auto items = std::make_unique<Runnable[]>(kBatch);
  InjectQueue<> overflow;
  RunQueue<> queue;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) queue.push_back(&items[i], overflow);
    for (std::size_t i = 0; i < kBatch; ++i) benchmark::DoNotOptimize(queue.pop_front());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(ring_push_pop);

void ring_push_pop_quiet(benchmark::State& state) {
  const auto items = std::make_unique<Runnable[]>(kBatch);
  InjectQueue<> overflow;
  RunQueue<> queue;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) queue.push_back_quiet(&items[i], overflow);
    for (std::size_t i = 0; i < kBatch; ++i) benchmark::DoNotOptimize(queue.pop_front());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(ring_push_pop_quiet);

// One owner, one thief that never stops trying.
void ring_push_pop_under_theft(benchmark::State& state) {
  const auto items = std::make_unique<Runnable[]>(kBatch);
  InjectQueue<> overflow;
  RunQueue<> queue;
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> stolen{0};
  std::thread thief([&] {
    RunQueue<> own;
    std::uint64_t count = 0;
    while (!done.load(std::memory_order_relaxed)) {
      Runnable* first = nullptr;
      if (queue.steal_into(own, first) != StealResult::got) continue;
      do {
        ++count;
      } while (own.pop_front() != nullptr);
    }
    stolen.store(count, std::memory_order_relaxed);
  });
  // Items are never followed nor linked, so one may be in the ring again while a thief holds it.
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) queue.push_back(&items[i], overflow);
    while (Runnable* item = queue.pop_front()) benchmark::DoNotOptimize(item);
  }
  done.store(true, std::memory_order_relaxed);
  thief.join();
  const auto pushed = state.iterations() * static_cast<std::int64_t>(kBatch);
  state.SetItemsProcessed(pushed);
  state.counters["stolen"] = static_cast<double>(stolen.load()) / static_cast<double>(pushed);
}
BENCHMARK(ring_push_pop_under_theft)->UseRealTime();

// A steal of the argument's number of items and their way out of the thief's ring.
void ring_steal(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const auto items = std::make_unique<Runnable[]>(2 * kBatch);
  InjectQueue<> overflow;
  RunQueue<> victim;
  RunQueue<> thief;
  for (auto _ : state) {
    while (victim.size() < 2 * count) victim.push_back_quiet(&items[victim.size()], overflow);
    Runnable* first = nullptr;
    benchmark::DoNotOptimize(victim.steal_into(thief, first));
    while (Runnable* item = thief.pop_front()) benchmark::DoNotOptimize(item);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(ring_steal)->Arg(1)->Arg(16)->Arg(kBatch);

// A pusher who never pops, and a helper who empties the inject queue by batches.
void ring_overflow(benchmark::State& state) {
  constexpr std::size_t kMany = 1 << 14;
  const auto items = std::make_unique<Runnable[]>(kMany);
  InjectQueue<> inject;
  RunQueue<> queue;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kMany; ++i) queue.push_back(&items[i], inject);
    while (Runnable* item = queue.pop_front()) benchmark::DoNotOptimize(item);
    while (!inject.empty()) benchmark::DoNotOptimize(inject.pop(kBatch).first);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kMany));
}
BENCHMARK(ring_overflow);

void lifo_in_out(benchmark::State& state) {
  Runnable item;
  LifoSlot<> slot;
  for (auto _ : state) {
    benchmark::DoNotOptimize(slot.exchange(&item));
    benchmark::DoNotOptimize(slot.take());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(lifo_in_out);

void inject_push_pop(benchmark::State& state) {
  Runnable item;
  InjectQueue<> queue;
  for (auto _ : state) {
    queue.push(&item);
    benchmark::DoNotOptimize(queue.pop_front());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(inject_push_pop);

}  // namespace
}  // namespace fibrio::detail

BENCHMARK_MAIN();
