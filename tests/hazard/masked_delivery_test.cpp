// While a task unwinds, or holds a CancelMask, a request of cancellation is counted but not delivered: an
// exception out of a destructor would end the program.
#include <exception>
#include <stdexcept>

#include <unistd.h>

#include "support/setups.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

enum class Kind { kSleep, kYield, kFuture, kTask, kFd };
constexpr Kind kKinds[] = {Kind::kSleep, Kind::kYield, Kind::kFuture, Kind::kTask, Kind::kFd};

// A wait that lasts until the other side says go.
struct Gate {
  fibrio::Future<> opened = fibrio::get_running_loop().create_future();
  int fds[2] = {-1, -1};
  Gate() {
    if (::pipe(fds) != 0) throw std::runtime_error("pipe");
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() {
    ::close(fds[0]);
    ::close(fds[1]);
  }
  void open() {
    opened.try_set_result();
    if (::write(fds[1], "x", 1) != 1) throw std::runtime_error("write");
  }
  void wait(Kind kind) {
    switch (kind) {
      case Kind::kSleep:
        while (!opened.done()) fibrio::sleep(100us);
        break;
      case Kind::kYield:
        while (!opened.done()) fibrio::yield();
        break;
      case Kind::kFuture:
        fibrio::await(opened);
        break;
      case Kind::kTask:
        // The request is not passed on to what a masked task awaits either.
        fibrio::await(fibrio::create_task([this] {
          while (!opened.done()) fibrio::sleep(100us);
        }));
        break;
      case Kind::kFd:
        fibrio::wait_readable(fds[0]);
        break;
    }
  }
};

}  // namespace

TEST_CASE("A cancel during unwinding waits until the unwinding is over", "[cancel]") {
  with_all_setups([](const Setup& setup) {
    for (const Kind kind : kKinds) {
      CAPTURE(static_cast<int>(kind));
      Expect expect;
      run_with(setup, [&] {
        Gate gate;
        fibrio::Future<> is_inside = fibrio::get_running_loop().create_future();
        bool handled = false;
        auto task = fibrio::create_task([&] {
          try {
            struct Cleanup {
              Gate& gate;
              fibrio::Future<>& is_inside;
              Kind kind;
              Expect& expect;
              ~Cleanup() {
                is_inside.set_result();
                gate.wait(kind);  // would end the program if CancelledError came out
                expect(fibrio::current_task().cancelled() == false, "cancelled while it unwinds");
                expect(std::uncaught_exceptions() == 1, "the exception is not in flight any more");
              }
            } const cleanup{gate, is_inside, kind, expect};
            throw std::runtime_error("first");
          } catch (const std::runtime_error&) {
            handled = true;
          }
          fibrio::sleep(1h);  // delivered here
        });
        fibrio::await(is_inside);
        expect(task.cancel(), "the task cannot be done");
        expect(task.cancelling() == 1, "the request is not counted");
        fibrio::sleep(1ms);
        expect(!task.done(), "the mask did not hold");
        gate.open();
        task.wait();
        expect(handled, "the clean-up was cut short");
        expect(task.cancelled(), "the request was lost");
      });
      CHECK(expect.failures() == "");
    }
  });
}

TEST_CASE("CancelMask holds a request back until it is gone", "[cancel]") {
  with_all_setups([](const Setup& setup) {
    for (const Kind kind : kKinds) {
      CAPTURE(static_cast<int>(kind));
      Expect expect;
      run_with(setup, [&] {
        Gate gate;
        fibrio::Future<> is_inside = fibrio::get_running_loop().create_future();
        bool passed = false;
        auto task = fibrio::create_task([&] {
          {
            const fibrio::CancelMask outer;
            const fibrio::CancelMask inner;
            is_inside.set_result();
            gate.wait(kind);
            passed = true;
          }
          fibrio::sleep(1h);
        });
        fibrio::await(is_inside);
        expect(task.cancel() && task.cancel(), "the task cannot be done");
        fibrio::sleep(1ms);
        gate.open();
        task.wait();
        expect(passed, "the wait under the mask was interrupted");
        expect(task.cancelled(), "the request was lost");
        expect(task.cancelling() == 2, "requests were lost");
      });
      CHECK(expect.failures() == "");
    }
  });
}

TEST_CASE("A request that was taken back while it was masked is never delivered", "[cancel]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      Gate gate;
      fibrio::Future<> is_inside = fibrio::get_running_loop().create_future();
      auto task = fibrio::create_task([&] {
        {
          const fibrio::CancelMask mask;
          is_inside.set_result();
          gate.wait(Kind::kFuture);
          expect(fibrio::current_task().uncancel() == 0, "more requests than were made");
        }
        fibrio::sleep(1ms);
        return 5;
      });
      fibrio::await(is_inside);
      task.cancel();
      gate.open();
      expect(fibrio::await(task) == 5, "the value is gone");
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("CancelledError unwinds through destructors that wait", "[cancel]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      std::atomic<int> cleaned{0};
      std::atomic<int> started{0};
      std::vector<fibrio::Task<>> tasks;
      for (int i = 0; i < 50; ++i) {
        tasks.push_back(fibrio::create_task([&cleaned, &started, i] {
          struct Cleanup {
            std::atomic<int>& cleaned;
            int number;
            ~Cleanup() {
              if (number % 2 == 0) fibrio::yield();
              fibrio::sleep(10us);
              ++cleaned;
            }
          };
          const Cleanup first{cleaned, i};
          const Cleanup second{cleaned, i + 1};
          ++started;
          fibrio::sleep(1h);
        }));
      }
      while (started < 50) fibrio::sleep(100us);
      for (auto& task : tasks) task.cancel();
      fibrio::yield();
      for (auto& task : tasks) task.cancel();  // again, in the middle of the clean-up
      for (auto& task : tasks) task.wait();
      expect(cleaned == 100, "a destructor was cut short");
    });
    CHECK(expect.failures() == "");
  });
}
