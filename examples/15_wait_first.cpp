// Teaches: wait with FIRST_COMPLETED returns when one of several tasks is done; it cancels nothing, so the
// losers of the race are cancelled by hand. asyncio: "done, pending = await asyncio.wait(tasks,
// return_when=asyncio.FIRST_COMPLETED)". One worker and virtual time, so that the order is always this.
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

std::string ask(const std::string& mirror, std::chrono::milliseconds takes) {
  fibrio::sleep(takes);
  return "answer of " + mirror;
}

int main() {
  fibrio::run(
      [] {
        const std::vector<fibrio::Task<std::string>> race{fibrio::create_task(ask, "north", 300ms),
                                                          fibrio::create_task(ask, "south", 100ms),
                                                          fibrio::create_task(ask, "west", 200ms)};
        const auto [done, pending] = fibrio::wait(race, {.return_when = fibrio::FIRST_COMPLETED});
        for (const auto& task : done) std::cout << fibrio::await(task) << '\n';
        for (const auto& task : pending) task.cancel();
        if (!pending.empty()) fibrio::wait(pending);
        for (const auto& task : pending)
          std::cout << "cancelled: " << std::boolalpha << task.cancelled() << '\n';
      },
      fibrio::Config{.workers = 1, .virtual_time = true});
}
