// Teaches: cancel() makes the wait of a task throw CancelledError. The task cleans up and passes it on; who
// awaits the task gets it too. asyncio: "task.cancel() and except CancelledError: ... raise". One worker and
// virtual time, so that the worker does exactly three rounds.
#include <chrono>
#include <iostream>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

void work_for_ever() {
  try {
    for (int round = 1;; ++round) {
      std::cout << "worker: round " << round << '\n';
      fibrio::sleep(1s);
    }
  } catch (const fibrio::CancelledError& error) {  // not a std::exception: see errors.hpp
    std::cout << "worker: cancelled (" << error.what() << "), cleaning up\n";
    throw;
  }
}

int main() {
  fibrio::run(
      [] {
        fibrio::Task<> worker = fibrio::create_task(work_for_ever);
        fibrio::sleep(2500ms);
        std::cout << "main: cancel: " << std::boolalpha << worker.cancel("time is up") << '\n';
        try {
          fibrio::await(worker);
        } catch (const fibrio::CancelledError&) {
          std::cout << "main: the worker ended as cancelled: " << worker.cancelled() << '\n';
        }
        std::cout << "main: cancel again: " << worker.cancel() << '\n';
      },
      fibrio::Config{.workers = 1, .virtual_time = true});
}
