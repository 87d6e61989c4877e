// The floating-point environment. Control bits (rounding, traps, flush-to-zero) travel with a task; a new
// task begins with those of the thread that runs the worker. Status flags (fetestexcept) mean nothing after a
// wait: workers set all of them, as switches between contexts with different flags are slow.
#include <cfenv>
#include <cmath>

#include "support/setups.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

[[gnu::noinline]] double divide(double a, double b) { return a / b; }

// A chaotic sequence: one wrong bit anywhere gives another end.
template <class Step>
double logistic(int rounds, Step&& step) {
  volatile double x = 0.3;
  for (int i = 0; i < rounds; ++i) {
    x = 3.99 * x * (1.0 - x);
    step(i);
  }
  return x;
}

}  // namespace

TEST_CASE("Floating-point results are the same with and without waits in between", "[fp]") {
  constexpr int kRounds = 1000;
  const double expected = logistic(kRounds, [](int) {});
  with_all_setups([&](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      std::vector<fibrio::Task<double>> tasks;
      for (int i = 0; i < 20; ++i) {
        tasks.push_back(fibrio::create_task([] {
          return logistic(kRounds, [](int round) {
            if (round % 7 == 0) fibrio::yield();
            if (round % 101 == 0) fibrio::sleep(1us);
          });
        }));
      }
      for (auto& task : tasks) expect(fibrio::await(task) == expected, "another result");
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("The rounding mode of a task stays with it over waits, and with it alone", "[fp]") {
  const double nearest = divide(1, 3);
  with_all_setups([&](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      std::vector<fibrio::Task<>> tasks;
      for (int i = 0; i < 40; ++i) {
        tasks.push_back(fibrio::create_task([&, i] {
          const int mode = i % 2 == 0 ? FE_UPWARD : FE_DOWNWARD;
          std::fesetround(mode);
          const double mine = divide(1, 3);
          for (int round = 0; round < 20; ++round) {
            fibrio::yield();
            expect(std::fegetround() == mode, "the rounding mode changed over a wait");
            expect(divide(1, 3) == mine, "results changed over a wait");
          }
          std::fesetround(FE_TONEAREST);
        }));
      }
      for (int round = 0; round < 20; ++round) {
        fibrio::yield();
        expect(std::fegetround() == FE_TONEAREST, "another task's rounding mode");
        expect(divide(1, 3) == nearest, "rounded in another task's mode");
      }
      for (auto& task : tasks) fibrio::await(task);
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("A new task does not begin with the rounding mode of the one that ran or ended before it", "[fp]") {
  with_all_setups([&](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      for (int round = 0; round < 20; ++round) {
        std::vector<fibrio::Task<>> tasks;
        for (int i = 0; i < 40; ++i) {
          tasks.push_back(fibrio::create_task([&, i] {
            expect(std::fegetround() == FE_TONEAREST, "began with another task's rounding mode");
            std::fesetround(FE_UPWARD);
            if (i % 3 == 0) fibrio::yield();  // the others end without it
          }));
        }
        for (auto& task : tasks) fibrio::await(task);
        expect(std::fegetround() == FE_TONEAREST, "got another task's rounding mode");
      }
      fibrio::Future<int> mode = fibrio::get_running_loop().create_future<int>();
      std::fesetround(FE_UPWARD);
      fibrio::get_running_loop().call_soon([&] { mode.set_result(std::fegetround()); });
      expect(fibrio::await(mode) == FE_TONEAREST, "a callback has a task's rounding mode");
      std::fesetround(FE_TONEAREST);
    });
    CHECK(expect.failures() == "");
    CHECK(std::fegetround() == FE_TONEAREST);
  });
}

TEST_CASE("The status flags of the calling thread are its own again after a run", "[fp]") {
  std::feclearexcept(FE_ALL_EXCEPT);
  fibrio::run([] {}, config_of({2, false}));
  CHECK(std::fetestexcept(FE_ALL_EXCEPT) == 0);
}

TEST_CASE("Status flags work between two waits", "[fp]") {
  with_all_setups([&](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      fibrio::yield();
      std::feclearexcept(FE_ALL_EXCEPT);
      volatile double sink = divide(1, 0);
      expect(std::fetestexcept(FE_DIVBYZERO) != 0, "no flag for a division by zero");
      expect(std::fetestexcept(FE_OVERFLOW) == 0, "a flag without reason");
      static_cast<void>(sink);
      fibrio::yield();
    });
    CHECK(expect.failures() == "");
  });
}
