// What a loop may be in the middle of, times the way in which it ends, times workers: it always ends, in bounded
// time, with nothing left. Each in a child process, which an alarm ends if it does not end by itself.
#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends/leak_check.hpp"
#include "ends/tally.hpp"
#include "support/loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

enum class Way { kGraceful, kDeadline, kNow };
constexpr std::array<const char*, 3> kWayNames{"graceful", "deadline", "now"};

constexpr int kIsRight = 7;
constexpr int kThreadLeft = 20;
constexpr int kFdLeft = 21;
constexpr int kNotReached = 22;
constexpr int kChildIsWrong = 23;

// The child's. Outlives every loop.
struct Scene {
  std::atomic<bool> is_reached{false};
  std::atomic<bool> may_end{false};     // what blocks a thread
  std::atomic<bool> has_runner{false};  // which takes SIGINT
  Lock lock;
  Event never;
  Queue<int> queue;
};
Scene& scene() {
  static Scene& made = *new Scene;
  return made;
}

void stay() { sleep(1h); }

// --- what it is in the middle of -----------------------------------------------------------------------------

void idle() {
  for (int i = 0; i < 20; ++i) spawn(&stay);
  spawn([] { scene().never.wait(); });
  spawn([] { static_cast<void>(scene().queue.get()); });
}

void busy() {
  for (int i = 0; i < 8; ++i) {
    spawn([] {
      for (;;) yield();
    });
  }
}

void blocked_pool() {
  for (int i = 0; i < 6; ++i) {  // more than there are threads
    spawn([] {
      to_thread([] {
        while (!scene().may_end) std::this_thread::sleep_for(1ms);
      });
    });
  }
  // The calls end by themselves, but not soon.
  get_running_loop().call_later(20ms, [] { scene().may_end = true; });
  while (get_running_loop().stats().blocking_threads == 0) yield();
}

void timers() {
  for (int i = 0; i < 1000; ++i) {
    get_running_loop().call_later(std::chrono::microseconds(i * 50), [] {});
    get_running_loop().call_later(1h, [] {});
  }
  for (int i = 0; i < 50; ++i) {
    spawn([] {
      for (;;) sleep(50us);
    });
  }
}

void accepting() {
  spawn([] {
    TcpListener listener = TcpListener::bind(Address::parse("127.0.0.1", 0));
    spawn([address = listener.local_address()] {
      std::array<std::byte, 16> buffer{};
      for (;;) {
        TcpStream client = TcpStream::connect(address);
        static_cast<void>(client.read_some(buffer));
      }
    });
    for (;;) {
      spawn([stream = std::make_shared<TcpStream>(listener.accept())] {
        std::array<std::byte, 16> buffer{};
        static_cast<void>(stream->read_some(buffer));  // nothing ever comes
      });
    }
  });
  yield();
}

void mid_cancel() {
  for (int i = 0; i < 10; ++i) {
    const Task<> task = create_task([] {
      try {
        stay();
      } catch (const CancelledError&) {
        const CancelMask mask;
        for (int k = 0; k < 20; ++k) {
          sleep(100us);
          const std::lock_guard guard(scene().lock);
          yield();
        }
        spawn(&stay);  // what is created while it is cleaned up is cancelled too
        throw;
      }
    });
    yield();
    task.cancel();
  }
  yield();
}

void exceptions() {
  for (int i = 0; i < 20; ++i) {
    spawn([i] {
      sleep(std::chrono::microseconds(i * 100));
      throw std::runtime_error("a task fails");
    });
  }
  get_running_loop().call_soon([] { throw std::runtime_error("a callback fails"); });
  spawn([] {
    sleep(1ms);
    throw KeyboardInterrupt();
  });
}

void signals() {
  EventLoop& loop = get_running_loop();
  loop.add_signal_handler(SIGUSR1, [] {});
  spawn([] {
    SignalStream stream{SIGUSR2};
    for (;;) static_cast<void>(stream.next());
  });
  spawn([] {
    for (int i = 0;; ++i) {
      ::kill(::getpid(), i % 2 == 0 ? SIGUSR1 : SIGUSR2);
      if (i == 20 && scene().has_runner) ::kill(::getpid(), SIGINT);
      yield();
    }
  });
}

struct State {
  const char* name;
  void (*begin)();
};
constexpr State kStates[] = {{"idle", &idle},
                             {"busy", &busy},
                             {"blocked pool", &blocked_pool},
                             {"timers", &timers},
                             {"accepting", &accepting},
                             {"mid-cancel", &mid_cancel},
                             {"exception", &exceptions},
                             {"signal", &signals}};

// --- how it ends -------------------------------------------------------------------------------------------

void begin(const State& state) {
  state.begin();
  scene().is_reached = true;
}

// The ways in which a body may end are no matter here.
void run_in(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception&) {
  } catch (const KeyboardInterrupt&) {
  }
}

void quiet(EventLoop& loop) {
  loop.set_exception_handler([](EventLoop&, const ExceptionContext&) {});
}

// The signals may come late: then nobody has them.
void ignore_late_signals() {
  ::signal(SIGUSR1, SIG_IGN);
  ::signal(SIGUSR2, SIG_IGN);
}

void main_of(const State& state, Way way) {
  begin(state);
  if (way == Way::kGraceful) {
    sleep(2ms);
  } else if (way == Way::kDeadline) {
    timeout(3ms, &stay);
  } else {
    get_running_loop().call_later(1ms, [&loop = get_running_loop()] { loop.stop(); });
    stay();
  }
}

using BeforeClose = std::function<void(EventLoop&)>;

void end_of(const State& state, Way way, std::size_t workers, const BeforeClose& before_close = {}) {
  const Config config = test_config(workers, false);
  if (way == Way::kNow) {
    EventLoop loop(config);
    quiet(loop);
    run_in([&] { loop.run_until_complete([&] { main_of(state, way); }); });
    if (before_close) before_close(loop);
    loop.close();
  } else {
    scene().has_runner = true;
    Runner runner(config);
    quiet(runner.get_loop());
    run_in([&] { runner.run([&] { main_of(state, way); }); });
    if (before_close) before_close(runner.get_loop());
    run_in([&] { runner.close(); });
  }
  scene().may_end = true;
}

int threads_of_process() {
  int count = 0;
  DIR* folder = ::opendir("/proc/self/task");
  while (const dirent* entry = ::readdir(folder)) count += entry->d_name[0] == '.' ? 0 : 1;
  ::closedir(folder);
  return count;
}

// --- children ----------------------------------------------------------------------------------------------

constexpr unsigned kMostSeconds = 20 * (kSlowdown > 1 ? 3 : 1);

// True if the child ended with this code, by itself.
bool ends_with(int code, const std::function<void()>& body) {
  const ChildResult child = run_in_child([&] {
    ::alarm(kMostSeconds);
    body();
  });
  INFO(child.errors);
  INFO("signal " << child.signal);
  CHECK(child.exit_code == code);
  return child.exit_code == code;
}

// What a child that closed its loops still has.
int verdict(std::size_t fds, int threads) {
  if (!scene().is_reached) return kNotReached;
  // ThreadSanitizer has a thread of its own, in a forked child from its first thread on.
  const auto are_gone = [&] {
    return threads_of_process() == threads || (kThreadSanitizer && threads_of_process() == threads + 1);
  };
  if (!eventually(are_gone)) return kThreadLeft;
  return open_fds() == fds ? kIsRight : kFdLeft;
}

template <class Body>
void for_all(const char* what, Body body) {
  Tally tally(std::string("shutdown matrix, ") + what);
  std::size_t points = 0;
  for (std::size_t round = 0; round < ends_rounds(); ++round) {
    points = 0;
    for (const State& state : kStates) {
      for (const Way way : {Way::kGraceful, Way::kDeadline, Way::kNow}) {
        for (const std::size_t workers : {1, 2, 4}) {
          const std::string point = std::string(state.name) + ", " +
                                    kWayNames[static_cast<std::size_t>(way)] + ", workers " +
                                    std::to_string(workers);
          INFO(point);
          tally.run(point, true, body(state, way, workers));
          ++points;
        }
      }
    }
  }
  CHECK(tally.points() == points);
}

}  // namespace

TEST_CASE("Whatever a loop is in the middle of, it ends in bounded time and leaves nothing",
          "[ends][shutdown]") {
  for_all("loops", [](const State& state, Way way, std::size_t workers) {
    return ends_with(kIsRight, [&] {
      const int threads = threads_of_process();
      { const NothingLeft warm; }
      const std::size_t fds = open_fds();
      ignore_late_signals();
      end_of(state, way, workers);
      ::_exit(verdict(fds, threads));
    });
  });
}

TEST_CASE("Whatever a static loop is in the middle of, exit() ends the process with its code",
          "[ends][shutdown]") {
  for_all("static destructors", [](const State& state, Way way, std::size_t workers) {
    return ends_with(kIsRight, [&] {
      ignore_late_signals();
      static EventLoop loop(test_config(workers, false));
      quiet(loop);
      // Like a thread that has been waiting for its part of the work.
      std::thread([] {
        std::this_thread::sleep_for(20ms);
        scene().may_end = true;
      }).detach();
      run_in([&] {
        loop.run_until_complete([&] {
          if (way == Way::kNow) {
            begin(state);
            check_no_leaks();
            std::exit(kIsRight);  // in the task itself
          }
          main_of(state, way);
        });
      });
      std::exit(scene().is_reached ? kIsRight : kNotReached);
    });
  });
}

TEST_CASE(
    "Whatever a loop is in the middle of, a process that is forked between run and close ends, and its "
    "parent too",
    "[ends][shutdown]") {
  if (kThreadSanitizer) skip("ThreadSanitizer knows no threads of forked children");
  for_all("forks", [](const State& state, Way way, std::size_t workers) {
    return ends_with(kIsRight, [&] {
      ignore_late_signals();
      bool is_child_right = false;
      end_of(state, way, workers, [&](EventLoop& loop) {
        const pid_t child = ::fork();
        if (child == 0) {
          ::alarm(kMostSeconds);
          run_in([&] { loop.close(); });  // the parent's: nothing to be done
          if (throws<RuntimeError>([&] { loop.call_soon([] {}); }) &&
              fibrio::run([] { return to_thread([] { return kIsRight; }); }, test_config(workers, false)) ==
                  kIsRight) {
            ::_exit(kIsRight);
          }
          ::_exit(kChildIsWrong);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        is_child_right = WIFEXITED(status) && WEXITSTATUS(status) == kIsRight;
      });
      ::_exit(!scene().is_reached ? kNotReached : is_child_right ? kIsRight : kChildIsWrong);
    });
  });
}
