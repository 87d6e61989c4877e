// Question: what does a strand cost beside free tasks? Unit: time per step. "yield": 8 tasks that yield, on one
// strand, and free. "messages": a free task sends to a strand and waits for the answer (Strand::run). "spread":
// as many strands as tasks, so that each step queues a strand. Good: a step on a strand costs what a free one
// does with one worker, and twice that with several, where a strand is queued as well. Not measured: contention
// of many senders on one strand.
#include <memory>
#include <vector>

#include "support.hpp"

constexpr int kTasks = 8;
constexpr int kYields = 20'000;

template <class Create>
static void yield_all(benchmark::State& run, Create create) {
  for (auto _ : run) {
    std::vector<fibrio::Task<>> tasks;
    for (int t = 0; t < kTasks; ++t) {
      tasks.push_back(create(t, [] {
        for (int i = 0; i < kYields; ++i) fibrio::yield();
      }));
    }
    for (const auto& task : tasks) fibrio::await(task);
  }
  bench::per(run, "per_step", double{kTasks} * kYields);
}

static void yield_free(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    yield_all(run, [](int, auto body) { return fibrio::create_task(body); });
  });
}
BENCHMARK(yield_free)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

static void yield_on_strand(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    fibrio::Strand strand;
    yield_all(run, [&](int, auto body) { return strand.create_task(body); });
  });
}
BENCHMARK(yield_on_strand)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

static void yield_spread(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    std::vector<std::unique_ptr<fibrio::Strand>> strands;
    for (int t = 0; t < kTasks; ++t) strands.push_back(std::make_unique<fibrio::Strand>());
    yield_all(run, [&](int t, auto body) { return strands[static_cast<std::size_t>(t)]->create_task(body); });
  });
}
BENCHMARK(yield_spread)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

static void messages(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    constexpr int kMessages = 20'000;
    fibrio::Strand strand;
    long sum = 0;
    for (auto _ : run) {
      for (int i = 0; i < kMessages; ++i) sum += strand.run([i] { return i; });
    }
    benchmark::DoNotOptimize(sum);
    bench::per(run, "per_step", kMessages);
  });
}
BENCHMARK(messages)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
