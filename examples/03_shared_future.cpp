// Teaches: a future is a value that one task sets and another waits for; set_result does not run the waiter,
// it makes it ready. asyncio: "two coroutines, one future". One worker, so that the order of the lines is
// asyncio's.
#include <chrono>
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

void wait_for_it(const fibrio::Future<std::string>& future) {
  std::cout << "waiter: waiting\n";
  const std::string& value = fibrio::await(future);
  std::cout << "waiter: got " << value << '\n';
}

void resolve_it(fibrio::Future<std::string> future) {
  std::cout << "resolver: sleeping\n";
  fibrio::sleep(10ms);
  future.set_result("the answer");
  std::cout << "resolver: has set the result\n";
}

int main() {
  fibrio::run(
      [] {
        auto future = fibrio::get_running_loop().create_future<std::string>();
        auto waiter = fibrio::create_task(wait_for_it, future);
        auto resolver = fibrio::create_task(resolve_it, future);
        fibrio::await(waiter);
        fibrio::await(resolver);
        std::cout << "main: done " << std::boolalpha << future.done() << '\n';
      },
      fibrio::Config{.workers = 1});
}
