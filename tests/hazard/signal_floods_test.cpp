// Signals that come faster than a loop reads, and the second SIGINT of a process that has no default actions.
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include <fibrio/signals.hpp>

#include "support/net_loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using namespace std::chrono_literals;

TEST_CASE("A flood of one signal loses no other signal", "[signals]") {
  constexpr int flood = kThreadSanitizer ? 5'000 : 100'000;
  on_loops([] {
    SignalStream rare{SIGTERM, SIGUSR2};
    std::atomic<int> floods{0};
    EventLoop& loop = get_running_loop();
    loop.add_signal_handler(SIGUSR1, [&] { ++floods; });
    std::thread([] {
      for (int i = 0; i < flood; ++i) {
        if (i == flood / 2) ::raise(SIGUSR2);
        ::raise(SIGUSR1);
      }
      ::raise(SIGTERM);
    }).join();
    expect_equal(timeout(20s, [&] { return rare.next(); }), SIGUSR2, "the one in the middle");
    expect_equal(timeout(20s, [&] { return rare.next(); }), SIGTERM, "the last one");
    expect(floods >= 1 && floods <= flood, "callbacks of the flood");
    int seen = floods;
    ::raise(SIGUSR1);
    wait_until([&] { return floods > seen; }, "one that comes after the flood is handled too");
    // Given back with some unread, and taken again: each counts again.
    for (int i = 0; i < 10; ++i) ::raise(SIGUSR1);
    loop.remove_signal_handler(SIGUSR1);
    loop.add_signal_handler(SIGUSR1, [&] { ++floods; });
    for (int i = 0; i < 100; ++i) {
      seen = floods;
      ::raise(SIGUSR1);
      wait_until([&] { return floods > seen; }, "one after the handler was changed");
    }
    loop.remove_signal_handler(SIGUSR1);
  });
}

TEST_CASE("As PID 1 of a container the second SIGINT ends the process", "[signals]") {
  constexpr int kNotAllowed = 77;
  const ChildResult result = run_in_child([] {
    ::alarm(30);
    if (::unshare(CLONE_NEWPID) != 0 && (::unshare(CLONE_NEWUSER) != 0 || ::unshare(CLONE_NEWPID) != 0))
      ::_exit(kNotAllowed);
    int started[2];
    if (::pipe(started) != 0) ::_exit(kNotAllowed);
    const pid_t child = ::fork();
    if (child == 0) {  // 1 in its namespace
      ::signal(SIGINT, SIG_DFL);
      Config config;
      config.workers = 1;
      run(
          [&] {
            for (;;) {
              try {
                static_cast<void>(!::write(started[1], "x", 1));  // at the start, and when the first one came
                sleep(1h);
              } catch (const CancelledError&) {
              }
            }
          },
          config);
      ::_exit(5);
    }
    char byte;
    int status = 0;
    for (int i = 0; i < 2; ++i) {
      if (::read(started[0], &byte, 1) != 1) ::_exit(kNotAllowed);
      ::kill(child, SIGINT);
    }
    ::waitpid(child, &status, 0);
    ::_exit(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGINT ? 0 : 1);
  });
  if (result.exit_code == kNotAllowed) skip("no namespaces of processes are allowed here");
  INFO(result.errors);
  CHECK(result.signal == 0);
  CHECK(result.exit_code == 0);
}
