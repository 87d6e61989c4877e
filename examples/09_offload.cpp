// Teaches: a call that blocks its thread belongs on the thread pool; the task that asked for it waits, the
// others go on. asyncio: "await asyncio.to_thread(blocking_io)" beside another task. One worker: were the
// call not offloaded, the ticks would all come after it.
#include <chrono>
#include <iostream>
#include <stdexcept>
#include <thread>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

int blocking_call(int x) {
  std::this_thread::sleep_for(500ms);  // blocks its thread: never do this in a task
  return 2 * x;
}

int main() {
  fibrio::run(
      [] {
        int ticks = 0;
        fibrio::Task<> ticker = fibrio::create_task([&ticks] {
          for (; ticks < 3; ++ticks) {
            std::cout << "tick " << ticks << '\n';
            fibrio::sleep(50ms);
          }
        });
        std::cout << "offloading\n";
        const int result = fibrio::to_thread(blocking_call, 21);
        std::cout << "result " << result << " after " << ticks << " ticks\n";
        fibrio::await(ticker);

        try {
          fibrio::to_thread([] { throw std::runtime_error("from the thread"); });
        } catch (const std::runtime_error& error) {
          std::cout << "an exception comes back: " << error.what() << '\n';
        }
      },
      fibrio::Config{.workers = 1});
}
