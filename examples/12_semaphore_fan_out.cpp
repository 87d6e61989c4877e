// Teaches: many tasks at once, but no more than three inside the part that costs: a semaphore; a lock around
// what they share, and an event that starts them together. asyncio: Semaphore, Lock, Event. Any number of
// workers.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <mutex>
#include <vector>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

int main() {
  fibrio::run([] {
    fibrio::Event start;
    fibrio::Semaphore at_most_three(3);
    fibrio::Lock lock;
    int inside = 0;  // these two are the lock's
    int most = 0;

    std::vector<fibrio::Task<int>> tasks;
    for (int page = 1; page <= 12; ++page) {
      tasks.push_back(fibrio::create_task([&, page] {
        start.wait();
        at_most_three.acquire();
        {
          const std::lock_guard guard(lock);
          most = std::max(most, ++inside);
        }
        fibrio::sleep(5ms);  // fetches the page
        {
          const std::lock_guard guard(lock);
          --inside;
        }
        at_most_three.release();
        return page * page;
      }));
    }
    std::cout << tasks.size() << " tasks wait for the start\n";
    start.set();
    int sum = 0;
    for (const auto& task : tasks) sum += fibrio::await(task);
    std::cout << "sum " << sum << "\nat most " << most << " at once\n";
  });
}
