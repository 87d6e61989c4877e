// Question: what does a cache line cost that two CPUs write? It bounds what a word shared by all workers can do: one
// operation in that time, however many they are. Unit: ns per operation, the fastest of many short batches (those in
// which one of the threads had no CPU do not count). Good: nothing to be had here; these are the
// machine's figures, for docs/scale.md. Not measured: more than two CPUs; two sockets.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

namespace {

struct alignas(64) Line {
  std::atomic<unsigned long> word{0};
};

constexpr int kBatches = 300;
constexpr int kOperations = 5'000;
Line line;
Line start;

// Both threads begin each batch together.
void meet(unsigned long batch) {
  start.word.fetch_add(1);
  while (start.word.load() < 2 * batch) {
  }
}

// `step(who)` is one operation of thread 0 or 1.
template <class Step>
void measure(const char* what, int threads, Step step) {
  start.word.store(0);
  line.word.store(0);
  std::vector<double> batches;
  const auto run = [&](unsigned long who) {
    for (unsigned long batch = 1; batch <= kBatches; ++batch) {
      if (threads == 2) meet(2 * batch - 1);
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < kOperations; ++i) step(who);
      if (threads == 2) meet(2 * batch);
      const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - begin;
      if (who == 0) batches.push_back(time.count() / kOperations);
    }
  };
  if (threads == 2) {
    std::thread other(run, 1);
    run(0);
    other.join();
  } else {
    run(0);
  }
  std::printf("%-58s %7.1f ns\n", what, *std::min_element(batches.begin(), batches.end()));
}

}  // namespace

int main() {
  measure("locked add on a line of one's own", 1, [](unsigned long) { line.word.fetch_add(1); });
  measure("there and back: each waits for the other's store", 2, [](unsigned long who) {
    while (line.word.load(std::memory_order_acquire) % 2 != who) {
    }
    line.word.store(line.word.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  });
}
