// What a worker sets for its own thread, and what a task leaves behind in it: nobody inherits the one, the page on
// debugging tells of the other.
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>

#include <fibrio/subprocess.hpp>

#include "support/net_loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using namespace std::chrono_literals;

namespace {

int cpus() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
}
int slack() { return ::prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0); }

struct Seen {
  int cpus = 0;
  int slack = 0;
  void look() {
    cpus = ::cpus();
    slack = ::slack();
  }
};

int in_forked_child(int (*question)()) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(question() & 0x7f);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

struct Frame {
  const Frame* next;
  const void* back;
};

// "" if the chain of frame pointers ends with null.
__attribute__((noinline, no_sanitize("address", "thread"))) std::string walk_frames() {
  const auto* frame = static_cast<const Frame*>(__builtin_frame_address(0));
  const char* const low = reinterpret_cast<const char*>(frame);
  constexpr std::ptrdiff_t kMost = 512 << 10;
  for (int i = 0; i < 100; ++i) {
    frame = frame->next;
    if (frame == nullptr) return "";
    const char* const here = reinterpret_cast<const char*>(frame);
    if (here < low || here > low + kMost) return "frame " + std::to_string(i) + " is outside of the stack";
  }
  return "no end";
}

}  // namespace

TEST_CASE("Threads and processes that tasks start have the CPUs and the timer slack of the process",
          "[inherited]") {
  const int all = cpus();
  const int usual = slack();
  if (all < 2) skip("one CPU only");
  for (const std::size_t workers : {1, 2, 4}) {
    Config config;
    config.workers = workers;
    config.pin_workers = true;
    run(
        [&] {
          for (int round = 0; round < 5; ++round) {
            sleep(1ms);
            Seen own;
            own.look();
            expect_equal(own.cpus, 1, "CPUs of the worker");
            expect_equal(own.slack, usual, "slack of a worker that is awake");
            Seen thread;
            if (!kThreadSanitizer) {  // which gives its threads attributes of its own
              std::thread([&] { thread.look(); }).join();
              expect_equal(thread.cpus, all, "CPUs of a thread");
              expect_equal(thread.slack, usual, "slack of a thread");
              to_thread([&] { thread.look(); });
              expect_equal(thread.cpus, all, "CPUs of the pool");
              expect_equal(thread.slack, usual, "slack of the pool");
            }
            SubprocessOptions options;
            options.stdout = PIPE;
            const std::string text = create_subprocess_exec({"nproc"}, options).communicate().first;
            expect_equal(std::stoi(text), all, "CPUs of a program");
            expect_equal(in_forked_child(&cpus), all, "CPUs of a forked child");
          }
        },
        config);
    CHECK(cpus() == all);
    CHECK(slack() == usual);
  }
  int after = 0;
  std::thread([&] { after = cpus(); }).join();
  CHECK(after == all);
}

TEST_CASE("The frame pointers of a task end with null", "[inherited]") {
#if defined(__x86_64__) || defined(__aarch64__)
  if (kAnySanitizer) skip("sanitizers have frames of their own");
  for (const std::size_t workers : {1, 2, 4}) {
    on_loop({workers, false}, [] {
      for (int i = 0; i < 20; ++i) {
        auto task = create_task([i] {
          if (i % 2 != 0) yield();
          return walk_frames();
        });
        expect(await(task).empty(), await(task));
      }
    });
  }
#else
  skip("not on this processor");
#endif
}
