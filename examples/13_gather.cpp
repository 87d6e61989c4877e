// Teaches: gather runs several callables at once and returns their values in the order of its arguments. The
// first failure comes out at once, and the others go on; with return_exceptions each outcome has its place.
// asyncio: "results = await asyncio.gather(...)". One worker and virtual time, so that the order is always
// this.
#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

int factorial(const std::string& name, int number) {
  int product = 1;
  for (int i = 2; i <= number; ++i) {
    std::cout << "Task " << name << ": compute factorial(" << number << "), currently i=" << i << "...\n";
    fibrio::sleep(1s);
    product *= i;
  }
  std::cout << "Task " << name << ": factorial(" << number << ") = " << product << '\n';
  return product;
}

int main() {
  fibrio::run(
      [] {
        const auto [a, b, c] =
            fibrio::gather([] { return factorial("A", 2); }, [] { return factorial("B", 3); },
                           [] { return factorial("C", 4); });
        std::cout << "results: " << a << ' ' << b << ' ' << c << '\n';

        const auto outcomes = fibrio::gather(
            fibrio::return_exceptions, [] { return 1; },
            []() -> int { throw std::runtime_error("no luck"); });
        for (const fibrio::Outcome<int>& outcome : {std::get<0>(outcomes), std::get<1>(outcomes)}) {
          if (outcome.has_value()) {
            std::cout << "a value: " << outcome.value() << '\n';
            continue;
          }
          try {
            std::rethrow_exception(outcome.exception());
          } catch (const std::runtime_error& error) {
            std::cout << "a failure: " << error.what() << '\n';
          }
        }
      },
      fibrio::Config{.workers = 1, .virtual_time = true});
}
