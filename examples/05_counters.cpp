// Teaches: sleep(0) gives way to everything that is ready. Four counters that do so after each number take
// turns. asyncio: "four coroutines that count to 99 with await asyncio.sleep(0)". One worker: exactly
// round-robin, in the order of creation. With more workers the counters run in parallel.
#include <iostream>
#include <vector>

#include <fibrio/fibrio.hpp>

constexpr int kCounters = 4;
constexpr int kNumbers = 100;

void count(int id) {
  for (int number = 0; number < kNumbers; ++number) {
    std::cout << number << (id == kCounters - 1 ? '\n' : ' ');
    fibrio::sleep(fibrio::Duration::zero());
  }
}

int main() {
  fibrio::run(
      [] {
        std::vector<fibrio::Task<>> counters;
        for (int id = 0; id < kCounters; ++id) counters.push_back(fibrio::create_task(count, id));
        for (const fibrio::Task<>& counter : counters) fibrio::await(counter);
      },
      fibrio::Config{.workers = 1});
}
