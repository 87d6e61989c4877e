// Teaches: task_group returns when all its children have ended, so they may refer to what its caller owns. If
// one fails, the others are cancelled, and what failed comes in an ExceptionGroup. asyncio: "async with
// asyncio.TaskGroup() as tg". One worker and virtual time, so that the order is always this.
#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

std::string fetch(const std::string& name, std::chrono::seconds takes) {
  try {
    fibrio::sleep(takes);
  } catch (const fibrio::CancelledError&) {
    std::cout << name << ": cancelled\n";
    throw;
  }
  if (name == "bad") throw std::runtime_error("cannot fetch " + name);
  return name + " page";
}

int main() {
  fibrio::run(
      [] {
        std::vector<std::string> pages(2);
        fibrio::task_group([&](fibrio::TaskGroup& group) {
          group.create_task([&] { pages[0] = fetch("first", 2s); });
          group.create_task([&] { pages[1] = fetch("second", 1s); });
        });
        std::cout << pages[0] << ", " << pages[1] << '\n';

        try {
          fibrio::task_group([](fibrio::TaskGroup& group) {
            group.create_task(fetch, "slow", 10s);
            group.create_task(fetch, "bad", 1s);
          });
        } catch (const fibrio::ExceptionGroup& failures) {
          std::cout << failures.what() << '\n';
          std::cout << "a runtime_error among them: " << std::boolalpha
                    << failures.contains<std::runtime_error>() << '\n';
        }
      },
      fibrio::Config{.workers = 1, .virtual_time = true});
}
