// Teaches: a plain callback can resolve what a task waits for: call_later and set_result. A timer is never
// early. asyncio: "loop.call_later(delay, future.set_result, value)". One worker and virtual time: the clock
// starts at zero and jumps to the next deadline, so the times are exact.
#include <chrono>
#include <iostream>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

long long now_ms() {
  const auto now = fibrio::get_running_loop().time().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

int main() {
  fibrio::run(
      [] {
        fibrio::EventLoop& loop = fibrio::get_running_loop();
        auto future = loop.create_future<int>();
        loop.call_later(500ms, [future]() mutable { future.set_result(42); });
        fibrio::TimerHandle unwanted = loop.call_later(700ms, [] { std::cout << "never printed\n"; });

        std::cout << "at " << now_ms() << " ms: waiting\n";
        const int answer = fibrio::await(future);
        std::cout << "at " << now_ms() << " ms: " << answer << '\n';

        std::cout << "cancelled: " << std::boolalpha << unwanted.cancel() << '\n';
        fibrio::sleep(1s);
        std::cout << "at " << now_ms() << " ms: end\n";
      },
      fibrio::Config{.workers = 1, .virtual_time = true});
}
