// Question: what does a stack cost a task: hot from the worker's cache, through the pool, with its pages
// gone, and fresh; and what does it cost to give the pages of one back. Unit: seconds per stack ("each"). A
// good answer: hot below 5 ns (two array accesses); through the pool below 50 ns; trimmed below 1 us per
// dirty page (the kernel's price); a fresh stack below 1 us without its first touch. Does not measure:
// contention between workers, and the switch itself.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "fiber/stack_cache.hpp"
#include "fiber/stack_pool.hpp"

namespace {

using namespace fibrio::detail;

constexpr std::size_t kStack = 256 * 1024;
constexpr std::int64_t kPage = 4096;
constexpr std::size_t kBatch = 10'000;

void touch(const Stack& stack, std::int64_t pages) {
  for (std::int64_t page = 0; page < pages; ++page) *(stack.top - 1024 - page * kPage) = std::byte{1};
}

std::vector<Stack*> take(StackCache& cache, std::size_t count) {
  std::vector<Stack*> taken(count);
  for (Stack*& stack : taken) stack = cache.acquire(kStack);
  return taken;
}

void count_each(benchmark::State& state, double stacks) {
  state.counters["each"] =
      benchmark::Counter(stacks, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void BM_Hot(benchmark::State& state) {
  StackPool pool;
  StackCache cache(pool);
  for (auto _ : state) {
    Stack* stack = cache.acquire(kStack);
    benchmark::DoNotOptimize(stack);
    cache.release(stack);
  }
  count_each(state, static_cast<double>(state.iterations()));
}
BENCHMARK(BM_Hot);

// More than the cache holds: batches to and from the pool.
void BM_WarmThroughPool(benchmark::State& state) {
  StackPool pool;
  StackCache cache(pool);
  for (auto _ : state) {
    std::vector<Stack*> taken = take(cache, kBatch);
    for (Stack* stack : taken) touch(*stack, state.range(0));
    for (Stack* stack : taken) cache.release(stack);
  }
  count_each(state, static_cast<double>(state.iterations() * kBatch));
}
BENCHMARK(BM_WarmThroughPool)->ArgName("pages")->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);

// Stacks that never were: slab, guard, and (with 1) first touch.
void BM_Fresh(benchmark::State& state) {
  for (auto _ : state) {
    StackPool pool;
    StackCache cache(pool);
    std::vector<Stack*> taken = take(cache, kBatch);
    for (Stack* stack : taken) touch(*stack, state.range(0));
    state.PauseTiming();
    for (Stack* stack : taken) cache.release(stack);
    state.ResumeTiming();
  }
  count_each(state, static_cast<double>(state.iterations() * kBatch));
}
BENCHMARK(BM_Fresh)->ArgName("pages")->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);

// Stacks whose pages are gone, guards still there: what a task pays after a quiet second.
void BM_Cold(benchmark::State& state) {
  StackPool pool;
  StackCache cache(pool);
  std::int64_t now = 0;
  // Some of each slab stay out, or the trimmer would unmap the slabs.
  std::vector<Stack*> all = take(cache, kBatch + kBatch / 100);
  std::vector<Stack*> out;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i % 101 == 0) {
      out.push_back(all[i]);
    } else {
      cache.release(all[i]);
    }
  }
  for (auto _ : state) {
    state.PauseTiming();
    cache.give_back_all();
    while (pool.has_untrimmed()) pool.trim(++now, 1);
    state.ResumeTiming();
    std::vector<Stack*> taken = take(cache, kBatch);
    for (Stack* stack : taken) touch(*stack, 1);
    state.PauseTiming();
    for (Stack* stack : taken) cache.release(stack);
    state.ResumeTiming();
  }
  count_each(state, static_cast<double>(state.iterations() * kBatch));
  for (Stack* stack : out) cache.release(stack);
}
BENCHMARK(BM_Cold)->Unit(benchmark::kMicrosecond);

// Dirty pages per stack; whether whole slabs are free (then they are unmapped) or every second stack is in
// use (then each costs a call).
void BM_Trim(benchmark::State& state) {
  bool whole_slabs = state.range(1) != 0;
  std::size_t trimmed = 0;
  for (auto _ : state) {
    state.PauseTiming();
    {
      StackPool pool;
      StackCache cache(pool);
      std::vector<Stack*> taken = take(cache, kBatch);
      for (std::size_t i = 0; i < taken.size(); ++i) {
        if (!whole_slabs && i % 2 != 0) continue;
        touch(*taken[i], state.range(0));
        cache.release(taken[i]);
      }
      cache.give_back_all();
      pool.trim(0, 1);
      state.ResumeTiming();
      trimmed += pool.trim(1, 1);
      state.PauseTiming();
      for (std::size_t i = 1; !whole_slabs && i < taken.size(); i += 2) cache.release(taken[i]);
    }
    state.ResumeTiming();
  }
  count_each(state, static_cast<double>(trimmed));
}
BENCHMARK(BM_Trim)
    ->ArgsProduct({{1, 4}, {0, 1}})
    ->ArgNames({"pages", "whole_slabs"})
    ->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
