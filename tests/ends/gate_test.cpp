// The gate into a loop: calls from other threads and the closer, one step at a time.
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/syscalls.hpp"
#include "sched/this_worker.hpp"
#include "sched/worker.hpp"
#include "support/faults.hpp"
#include "support/loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

constexpr std::size_t kWorkers[] = {1, 2, 4};

void ignore_reports(EventLoop& loop) {
  loop.set_exception_handler([](EventLoop&, const ExceptionContext&) {});
}

// Stops the thread that is in epoll_ctl, and so inside of the gate, until it is let go.
struct Inside {
  static inline std::atomic<bool> stops{false};
  static inline std::atomic<bool> is_there{false};
  static inline std::atomic<bool> may_go{false};

  static int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) {
    if (stops.exchange(false)) {
      is_there = true;
      while (!may_go) std::this_thread::yield();
    }
    return sys::real_syscalls.epoll_ctl(epoll_fd, operation, fd, event);
  }
};

std::vector<std::string> threads_of_process() {
  std::vector<std::string> threads;
  DIR* folder = ::opendir("/proc/self/task");
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.') threads.emplace_back(entry->d_name);
  }
  ::closedir(folder);
  return threads;
}

}  // namespace

TEST_CASE("A loop that closes waits for a call that is inside of it", "[ends][close]") {
  for (const std::size_t workers : kWorkers) {
    const ScopedSyscalls table;
    const NothingLeft nothing_left;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    {
      EventLoop loop(test_config(workers, false));
      loop.run_until_complete([] { yield(); });
      Inside::is_there = Inside::may_go = false;
      Inside::stops = true;
      sys::syscalls.epoll_ctl = &Inside::epoll_ctl;
      std::thread caller([&] { loop.add_reader(ends[0], [] {}); });
      while (!Inside::is_there) std::this_thread::yield();
      std::atomic<bool> is_over{false};
      std::thread closer([&] {
        loop.close();
        is_over = true;
      });
      // From now on others are refused, at once.
      CHECK(eventually([&] { return throws<RuntimeError>([&] { loop.call_soon([] {}); }); }));
      std::this_thread::sleep_for(20ms);  // time for a closer that does not wait
      CHECK_FALSE(is_over);
      Inside::may_go = true;
      caller.join();
      closer.join();
      CHECK_FALSE(loop.remove_reader(ends[0]));
    }
    ::close(ends[0]);
    ::close(ends[1]);
  }
}

TEST_CASE("A closed loop refuses every call that would give it something to do", "[ends][close]") {
  for (const std::size_t workers : kWorkers) {
    EventLoop loop(test_config(workers, false));
    loop.run_until_complete([] { yield(); });
    loop.close();
    CHECK(throws<RuntimeError>([&] { loop.call_soon([] {}); }));
    CHECK(throws<RuntimeError>([&] { loop.call_later(1s, [] {}); }));
    CHECK(throws<RuntimeError>([&] { loop.call_at(loop.time(), [] {}); }));
    loop.stop();  // as asyncio's: nothing to be refused
    CHECK(throws<RuntimeError>([&] { loop.create_task([] {}); }));
    CHECK(throws<RuntimeError>([&] { return loop.run_in_executor(nullptr, [] {}); }));
    CHECK(throws<RuntimeError>([&] { loop.set_default_executor(std::make_shared<ThreadPool>(1)); }));
    CHECK(throws<RuntimeError>([&] { loop.set_debug(true); }));
    CHECK(throws<RuntimeError>([&] { loop.add_reader(0, [] {}); }));
    CHECK(throws<RuntimeError>([&] { loop.add_signal_handler(SIGUSR1, [] {}); }));
    CHECK_FALSE(loop.remove_signal_handler(SIGUSR1));
    CHECK(loop.stats().workers.empty());
  }
}

TEST_CASE("A loop that closes refuses tasks of other threads before it looks at those that are left",
          "[ends][close]") {
  for (const std::size_t workers : kWorkers) {
    EventLoop loop(test_config(workers, false));
    Task<> left = loop.create_task([] { sleep(1h); });
    std::atomic<int> refused{0};
    loop.set_exception_handler([&](EventLoop&, const ExceptionContext&) {
      std::thread([&] {
        if (throws<RuntimeError>([&] { loop.create_task([] {}); })) ++refused;
      }).join();
    });
    loop.close();
    CHECK(refused == 1);
    CHECK(left.cancelled());
  }
}

TEST_CASE("Calls of stop do not keep a loop from closing", "[ends][close]") {
  for (const std::size_t workers : kWorkers) {
    EventLoop loop(test_config(workers, false));
    ignore_reports(loop);
    std::atomic<bool> is_closing{false};
    std::atomic<int> stops{0};
    const Task<> task = loop.create_task([&] {
      try {
        sleep(1h);
      } catch (const CancelledError&) {
        const CancelMask mask;
        is_closing = true;
        while (stops < 1000) sleep(100us);
        throw;
      }
    });
    loop.run_until_complete([] { yield(); });
    std::thread stopper([&] {
      while (!is_closing) std::this_thread::yield();
      while (!loop.is_closed()) {
        loop.stop();
        ++stops;
        std::this_thread::yield();
      }
    });
    loop.close();
    stopper.join();
    CHECK(task.cancelled());
  }
}

TEST_CASE("A loop that is closed leaves no thread behind", "[ends][close]") {
  if (kThreadSanitizer) skip("ThreadSanitizer has a thread of its own");
  const std::vector<std::string> before = threads_of_process();
  for (const std::size_t workers : kWorkers) {
    for (int round = 0; round < 60 / kSlowdown + 1; ++round) {
      // As a rule the threads are still on their way to sleep.
      fibrio::run(
          [] {
            to_thread([] {});
            static_cast<void>(getaddrinfo("localhost", 80));
          },
          test_config(workers, false));
      CHECK(threads_of_process() == before);
      EventLoop loop(test_config(workers, false));
      loop.run_until_complete([] { to_thread([] {}); });
      loop.close();
      CHECK(threads_of_process() == before);
    }
  }
}

TEST_CASE("A loop that is closed does not wait for a call that its executor runs", "[ends][close]") {
  for (const std::size_t workers : kWorkers) {
    std::atomic<bool> runs{false};
    std::atomic<bool> may_end{false};
    Future<void> call;
    auto pool = std::make_shared<ThreadPool>(2);
    {
      EventLoop loop(test_config(workers, false));
      ignore_reports(loop);
      loop.set_default_executor(pool);
      call = loop.run_in_executor(nullptr, [&] {
        runs = true;
        while (!may_end) std::this_thread::yield();
      });
      while (!runs) std::this_thread::yield();
      loop.close();
      CHECK(pool->threads() == 1);
      CHECK_FALSE(call.done());
    }
    may_end = true;
    CHECK(eventually([&] { return pool->threads() == 0; }));
  }
}

namespace {

// Writes to the eventfds of workers, by the thread that does it.
struct WakeUps {
  static inline std::mutex lock;
  static inline std::vector<int> eventfds;  // of worker 0, 1, …
  static inline std::atomic<int> own{0};    // of a worker to its own

  static int eventfd(unsigned count, int flags) {
    const int fd = sys::real_syscalls.eventfd(count, flags);
    const std::lock_guard guard(lock);
    eventfds.push_back(fd);
    return fd;
  }
  static ssize_t write(int fd, const void* data, std::size_t bytes) {
    if (const detail::Worker* worker = detail::this_worker(); worker != nullptr) {
      const std::lock_guard guard(lock);
      if (worker->index < eventfds.size() && eventfds[worker->index] == fd) ++own;
    }
    return sys::real_syscalls.write(fd, data, bytes);
  }
};

}  // namespace

TEST_CASE("A worker that is woken by several events at once does not wake itself", "[ends][wakeup]") {
  constexpr int kFds = 8;
  constexpr int kBursts = 100;
  for (const std::size_t workers : {2, 4}) {
    const ScopedSyscalls table;
    WakeUps::eventfds.clear();
    WakeUps::own = 0;
    sys::syscalls.eventfd = &WakeUps::eventfd;
    sys::syscalls.write = &WakeUps::write;
    {
      EventLoop loop(test_config(workers, false));
      loop.run_until_complete([&] {
        // One write makes every copy of the fd readable, so that one look finds them all.
        const int source = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        std::vector<int> copies;
        for (int i = 0; i < kFds; ++i) copies.push_back(::dup(source));
        std::atomic<int> got{0};
        std::atomic<int> burst{0};
        std::thread sender([&] {
          for (int i = 1; i <= kBursts; ++i) {
            std::this_thread::sleep_for(1ms);  // for the workers to sleep; if they do not it is no burst
            burst = i;
            const std::uint64_t one = 1;
            static_cast<void>(::write(source, &one, sizeof one));
            while (got < i * kFds) std::this_thread::yield();
            std::uint64_t taken = 0;
            static_cast<void>(::read(source, &taken, sizeof taken));
          }
        });
        const auto wait_for_bursts = [&](int fd) {
          for (int seen = 0; seen < kBursts;) {
            wait_readable(fd);
            if (burst == seen) {
              yield();  // still readable from the last burst
            } else {
              seen = burst;
              ++got;
            }
          }
        };
        task_group([&](TaskGroup& group) {
          for (const int fd : copies) group.create_task([&, fd] { wait_for_bursts(fd); });
        });
        sender.join();
        TASK_CHECK(WakeUps::own == 0);
        for (const int fd : copies) ::close(fd);
        ::close(source);
      });
    }
    report_failures();
  }
}
