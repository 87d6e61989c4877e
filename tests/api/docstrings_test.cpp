// What the docstrings say of cancelling, closing and misuse, tried.
#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include <unistd.h>

#include <fibrio/fibrio.hpp>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using fibrio::CancelledError;
using fibrio::Config;

namespace {

// Runs `main` on loops of 1, 2 and 4 workers.
void on_all_worker_counts(const std::function<void()>& main) {
  for (const std::size_t workers : {1, 2, 4}) {
    CAPTURE(workers);
    fibrio::run(main, Config{.workers = workers});
  }
}

}  // namespace

TEST_CASE("wait throws CancelledError when the cancel it passed on ended the future", "[futures]") {
  on_all_worker_counts([] {
    // A future each: with several workers nobody knows which of the two tasks waits first, if it waits at all by now.
    auto first = fibrio::get_running_loop().create_future<int>();
    auto second = fibrio::get_running_loop().create_future<int>();
    std::atomic<bool> has_begun{false};
    auto before = fibrio::create_task([&has_begun, first] {
      has_begun = true;
      first.wait();
    });
    auto during = fibrio::create_task([second] {
      fibrio::current_task().cancel("early");  // delivered to what is awaited next
      second.wait();
    });
    while (!has_begun) fibrio::yield();
    before.cancel("late");
    before.wait();
    during.wait();
    if (!before.cancelled() || !during.cancelled() || !first.cancelled() || !second.cancelled())
      throw std::logic_error("not cancelled");
  });
}

TEST_CASE("wait does not throw when somebody else cancelled the future", "[futures]") {
  on_all_worker_counts([] {
    auto future = fibrio::get_running_loop().create_future<int>();
    auto waiter = fibrio::create_task([future] { return future.wait(), 7; });
    fibrio::yield();
    future.cancel();
    if (fibrio::await(waiter) != 7) throw std::logic_error("wait threw the future's result");
  });
}

TEST_CASE("wait does not throw when the awaited task swallowed the cancel", "[futures]") {
  on_all_worker_counts([] {
    auto stubborn = fibrio::create_task([] {
      try {
        fibrio::sleep(1h);
      } catch (const CancelledError&) {  // NOLINT: swallowed on purpose
      }
    });
    auto waiter = fibrio::create_task([stubborn] { return stubborn.wait(), 7; });
    while (fibrio::all_tasks().size() < 3) fibrio::yield();
    fibrio::sleep(1ms);
    waiter.cancel();
    if (fibrio::await(waiter) != 7) throw std::logic_error("wait threw");
  });
}

TEST_CASE("add_reader drops the callback it replaces without holding a lock", "[event_loop]") {
  // A destructor that calls the loop deadlocked.
  struct CallsTheLoop {
    fibrio::EventLoop& loop;
    int fd;
    bool& done;
    ~CallsTheLoop() {
      loop.remove_writer(fd);
      done = true;
    }
  };
  int fds[2];
  REQUIRE(::pipe(fds) == 0);
  bool dropped = false;
  {
    fibrio::EventLoop loop(Config{.workers = 1});
    loop.add_reader(fds[0],
                    [held = std::shared_ptr<CallsTheLoop>(new CallsTheLoop{loop, fds[1], dropped})] {});
    loop.add_reader(fds[0], [] {});
    CHECK(dropped);
    CHECK(loop.remove_reader(fds[0]));
  }
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_CASE("A loop made inside a task and not used can be closed there", "[event_loop]") {
  std::string report;
  fibrio::run(
      [&report] {
        fibrio::EventLoop inner(Config{.workers = 2});
        inner.set_exception_handler([&report](fibrio::EventLoop&, const fibrio::ExceptionContext& context) {
          report = context.message;
        });
        inner.call_later(1h, [] {});
        inner.close();
        if (!inner.is_closed()) throw std::logic_error("not closed");
      },
      Config{.workers = 1});
  CHECK(report.empty());
}

TEST_CASE("stop lets the present pass end with one worker", "[event_loop]") {
  fibrio::EventLoop loop(Config{.workers = 1});
  std::string ran;
  loop.call_soon([&] {
    loop.stop();
    loop.call_soon([&] { ran += "next run"; });
  });
  loop.call_soon([&] { ran += "same pass, "; });
  loop.run_forever();
  CHECK(ran == "same pass, ");
  loop.call_soon([&] { loop.stop(); });
  loop.run_forever();
  CHECK(ran == "same pass, next run");
}
