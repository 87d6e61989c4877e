// Teaches: run_forever ends only by stop(), here called from the done-callback of a task; the loop can run
// again. asyncio: "loop.run_forever() stopped from the callback of a future". One worker, so that the order
// of the lines is asyncio's.
#include <chrono>
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

std::string slow_operation() {
  fibrio::sleep(10ms);
  return "the operation is done";
}

int main() {
  fibrio::EventLoop loop(fibrio::Config{.workers = 1});
  fibrio::Task<std::string> task = loop.create_task(slow_operation);
  task.add_done_callback([&loop, task](const fibrio::AnyFuture&) {
    std::cout << task.result() << '\n';
    loop.stop();
  });

  std::cout << "run_forever\n";
  loop.run_forever();
  std::cout << "stopped, running: " << std::boolalpha << loop.is_running() << '\n';

  loop.call_soon([&loop] {
    std::cout << "a second run of the same loop\n";
    loop.stop();
  });
  loop.run_forever();
  loop.close();
  std::cout << "closed: " << loop.is_closed() << '\n';
}
