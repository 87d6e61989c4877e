// Teaches: two steps that wait overlap when each is a task: together they take as long as the longer one, not
// the sum. asyncio: "await main() with two create_task calls". Any number of workers; the clock is the real
// one, so only bounds of the elapsed time are printed.
#include <chrono>
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

std::string step(std::string name, std::chrono::milliseconds duration) {
  fibrio::sleep(duration);
  return name + " after " + std::to_string(duration.count()) + " ms";
}

int main() {
  fibrio::run([] {
    fibrio::EventLoop& loop = fibrio::get_running_loop();
    const fibrio::TimePoint start = loop.time();

    fibrio::Task<std::string> boil = fibrio::create_task(step, "boil", 1000ms);
    fibrio::Task<std::string> chop = fibrio::create_task(step, "chop", 800ms);
    std::cout << fibrio::await(boil) << '\n';
    std::cout << fibrio::await(chop) << '\n';  // was done long before

    const fibrio::Duration elapsed = loop.time() - start;
    std::cout << "not shorter than the longer one: " << std::boolalpha << (elapsed >= 1000ms) << '\n';
    std::cout << "shorter than the sum: " << (elapsed < 1800ms) << '\n';
  });
}
