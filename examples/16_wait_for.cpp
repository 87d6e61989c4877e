// Teaches: wait_for limits one wait, timeout a whole piece of code, which may move the deadline. When the
// time is up, what waits gets CancelledError and cleans up; then TimeoutError comes out. asyncio:
// "asyncio.wait_for" and "async with asyncio.timeout(...)". One worker and virtual time, so that the times
// are always these.
#include <chrono>
#include <iostream>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

void eternity() {
  try {
    fibrio::sleep(1h);
    std::cout << "yay!\n";
  } catch (const fibrio::CancelledError&) {
    std::cout << "eternity: cleaning up\n";
    throw;
  }
}

int main() {
  fibrio::run(
      [] {
        auto& loop = fibrio::get_running_loop();
        const auto start = loop.time();
        const auto seconds = [&] { return (loop.time() - start) / 1s; };
        try {
          fibrio::wait_for(eternity, 1s);
        } catch (const fibrio::TimeoutError&) {
          std::cout << "timeout after " << seconds() << " s\n";
        }
        const int value = fibrio::timeout(1s, [&](fibrio::Timeout& limit) {
          limit.reschedule(loop.time() + 5s);
          fibrio::sleep(3s);
          return 42;
        });
        std::cout << "value " << value << " after " << seconds() << " s\n";
      },
      fibrio::Config{.workers = 1, .virtual_time = true});
}
