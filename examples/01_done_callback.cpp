// Teaches: a task, its done-callback, and run_until_complete. The callback is queued when the task ends; it
// does not run inside the task. asyncio: "create_task, add_done_callback, loop.run_until_complete(task)". One
// worker, so that the order of the lines is asyncio's.
#include <chrono>
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

std::string do_some_work(int x) {
  std::cout << "working on " << x << '\n';
  fibrio::sleep(10ms);
  return "result " + std::to_string(x);
}

int main() {
  fibrio::EventLoop loop(fibrio::Config{.workers = 1});

  fibrio::Task<std::string> task = loop.create_task(do_some_work, 2);
  std::cout << "created, done: " << std::boolalpha << task.done() << '\n';
  task.add_done_callback([task](const fibrio::AnyFuture& ended) {
    std::cout << "callback: the same future: " << (ended == task) << ", " << task.result() << '\n';
  });

  const std::string result = loop.run_until_complete(task);
  std::cout << "run_until_complete returned " << result << '\n';
  std::cout << "ended, done: " << task.done() << '\n';
}
