// The watch over running workers: each expiry of its timer is handled by one worker.
#include <atomic>
#include <thread>

#include "base/syscalls.hpp"
#include "support/loops.hpp"
#include "support/scoped_syscalls.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Of the loop's timerfd.
struct Timer {
  static inline std::atomic<int> fd{-1};
  static inline std::atomic<int> armed{0};
  static inline std::atomic<int> expired{0};

  static int create(int clock, int flags) { return fd = sys::real_syscalls.timerfd_create(clock, flags); }
  static int set(int of, int flags, const itimerspec* time, itimerspec* old) {
    ++armed;
    return sys::real_syscalls.timerfd_settime(of, flags, time, old);
  }
  static ssize_t read(int from, void* data, std::size_t bytes) {
    const ssize_t result = sys::real_syscalls.read(from, data, bytes);
    if (from == fd && result > 0) ++expired;
    return result;
  }
};

}  // namespace

TEST_CASE("An expiry of the watch is handled by one worker, though every busy one hears of it", "[watch]") {
  constexpr std::size_t kWorkers = 4;
  const ScopedSyscalls table;
  sys::syscalls.timerfd_create = &Timer::create;
  sys::syscalls.timerfd_settime = &Timer::set;
  sys::syscalls.read = &Timer::read;
  Timer::armed = Timer::expired = 0;
  {
    EventLoop loop(test_config(kWorkers, false));
    std::atomic<bool> is_over{false};
    loop.run_until_complete([&] {
      // More than enough for every worker, so that none sleeps and each looks around often.
      for (std::size_t i = 0; i < 4 * kWorkers; ++i) {
        spawn([&] {
          while (!is_over) yield();
        });
      }
      TASK_CHECK(eventually_in_task([] { return Timer::expired >= 50; }));
      is_over = true;
      // Once for each expiry, and whenever a worker begins to run, or goes to sleep at the end.
      TASK_CHECK(Timer::armed <= Timer::expired + Timer::expired / 2 + 8);
    });
  }
  report_failures();
}
