#include <signal.h>

#include <optional>
#include <span>
#include <thread>
#include <vector>

#include <fibrio/signals.hpp>

#include "support/net_loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using namespace std::chrono_literals;

namespace {

void send_self(int signal) {
  // ThreadSanitizer puts off what comes to a thread at work until the same fiber calls what the tool
  // intercepts; that may be never. Let the other workers sleep first.
  if (fibrio::test::kThreadSanitizer) std::this_thread::sleep_for(20ms);
  expect(::kill(::getpid(), signal) == 0, "a signal to ourselves");
}

using Handler = void (*)(int);
Handler handler_of(int signal) {
  struct sigaction action {};
  ::sigaction(signal, nullptr, &action);
  return action.sa_handler;
}

// Ends the child that it runs in unless it holds.
void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "expected: %s\n", what);
  std::fflush(stderr);
  ::_exit(1);
}

}  // namespace

TEST_CASE("SignalStream::next returns the signals it was made for, in their order", "[signals]") {
  on_loops([] {
    SignalStream signals{SIGUSR1, SIGUSR2};
    expect(!signals.try_next().has_value(), "none yet");
    auto waiting = create_task([&] { return signals.next(); });
    wait_until_waits(waiting);
    send_self(SIGUSR2);
    expect_equal(await(waiting), SIGUSR2, "the signal");
    std::vector<int> got;
    for (const int signal : {SIGUSR1, SIGUSR2, SIGUSR1}) {
      send_self(signal);
      got.push_back(signals.next());
    }
    expect(got == std::vector<int>{SIGUSR1, SIGUSR2, SIGUSR1}, "their order");
  });
}

TEST_CASE("Signals that nobody asks for yet are kept, each once", "[signals]") {
  on_loops([] {
    SignalStream signals{SIGUSR1, SIGUSR2};
    SignalStream late{SIGUSR2};
    // To this thread: of signals to the process, several threads may take each its own, in any order.
    for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
    ::raise(SIGUSR2);
    expect_equal(late.next(), SIGUSR2, "the last one: all have come");
    expect_equal(signals.next(), SIGUSR1, "the first one");
    wait_until([&] { return signals.try_next() == SIGUSR2; }, "the other one");
    expect(!signals.try_next().has_value(), "and no more");
  });
}

TEST_CASE("Every SignalStream and a callback are told of a signal", "[signals]") {
  on_loops([] {
    SignalStream first{SIGUSR1};
    SignalStream second{SIGUSR1, SIGUSR2};
    Event called;
    get_running_loop().add_signal_handler(SIGUSR1, [&] { called.set(); });
    std::vector<Task<int>> tasks;
    tasks.push_back(create_task([&] { return first.next(); }));
    tasks.push_back(create_task([&] { return second.next(); }));
    wait_until_all_wait(tasks);
    send_self(SIGUSR1);
    for (auto& task : tasks) expect_equal(await(task), SIGUSR1, "the signal");
    called.wait();
    expect(get_running_loop().remove_signal_handler(SIGUSR1), "a callback");
    expect(!get_running_loop().remove_signal_handler(SIGUSR1), "no second one");
    send_self(SIGUSR1);  // the streams still have it
    expect_equal(first.next(), SIGUSR1, "the signal");
    expect_equal(second.next(), SIGUSR1, "the signal");
  });
}

TEST_CASE("One of several tasks that wait for a SignalStream gets the signal", "[signals]") {
  on_loops([] {
    SignalStream signals{SIGUSR1};
    std::atomic<int> got = 0;
    std::vector<Task<>> tasks;
    for (int i = 0; i < 5; ++i) {
      tasks.push_back(create_task([&] {
        signals.next();
        ++got;
      }));
    }
    for (int i = 1; i <= 5; ++i) {
      send_self(SIGUSR1);
      wait_until([&] { return got == i; }, "one more task");
      let_others_wait();
      expect_equal(got.load(), i, "tasks that got it");
    }
    for (auto& task : tasks) await(task);
  });
}

TEST_CASE("next that was cancelled loses no signal", "[signals]") {
  on_loops([] {
    SignalStream signals{SIGUSR1};
    for (int i = 0; i < 50; ++i) {
      bool has_signal = false;  // also of a task whose cancel came between that and its end
      auto cancelled = create_task([&] {
        signals.next();
        has_signal = true;
      });
      if (i % 2 == 0) wait_until_waits(cancelled);
      if (i % 3 == 0) send_self(SIGUSR1);
      cancelled.cancel();
      cancelled.wait();
      if (i % 3 == 0 && !has_signal) expect_equal(signals.next(), SIGUSR1, "the signal");
    }
    expect_throws<TimeoutError>([&] { wait_for([&] { return signals.next(); }, 5ms); }, "a timeout");
  });
}

TEST_CASE("The last SignalStream to go restores what the program had before", "[signals]") {
  const auto mine = [](int) {};
  const Handler before = ::signal(SIGUSR1, mine);
  on_loops([&] {
    std::optional<SignalStream> first(SignalStream{SIGUSR1});
    {
      SignalStream second{SIGUSR1, SIGUSR2};
      SignalStream moved = std::move(second);
      expect(handler_of(SIGUSR2) != SIG_DFL, "a handler");
      moved = SignalStream{SIGUSR1};
      expect(handler_of(SIGUSR2) == SIG_DFL, "the one that was assigned to gave its signals back");
    }
    expect(handler_of(SIGUSR1) != static_cast<Handler>(mine), "the first stream is still there");
    first.reset();
    expect(handler_of(SIGUSR1) == static_cast<Handler>(mine), "what was there before");
  });
  ::signal(SIGUSR1, before);
}

// asyncio: test_unix_events SelectorEventLoopSignalTests.test_handle_signal_no_handler
TEST_CASE("A signal whose SignalStream went before it was seen is forgotten", "[signals]") {
  on_loops([] {
    for (int i = 0; i < 20; ++i) {
      {
        SignalStream signals{SIGUSR1};
        ::raise(SIGUSR1);  // to this thread: it has been taken when this returns
      }
      SignalStream next{SIGUSR2};  // keeps the loop's pipe
      send_self(SIGUSR2);
      expect_equal(next.next(), SIGUSR2, "the signal");
    }
  });
}

TEST_CASE("SignalStream refuses what cannot be caught, and signals of another loop", "[signals]") {
  CHECK_THROWS_AS(SignalStream{SIGUSR1}, RuntimeError);
  on_loops([] {
    for (const int signal : {0, -1, SIGKILL, SIGSTOP, 1000}) {
      expect_throws<std::invalid_argument>([&] { SignalStream{SIGUSR1, signal}; }, "no such signal");
    }
    expect_throws<std::invalid_argument>([] { SignalStream{std::span<const int>()}; }, "no signal at all");
    expect(handler_of(SIGUSR1) == SIG_DFL, "nothing stays installed");
    SignalStream here{SIGUSR1};
    const std::string error = to_thread([] {
      EventLoop other(Config{.workers = 1});
      try {
        other.run_until_complete([] { SignalStream both{SIGUSR2, SIGUSR1}; });
      } catch (const RuntimeError& refused) {
        return std::string(refused.what());
      }
      return std::string();
    });
    expect(error.find("another event loop") != std::string::npos, "the reason in: " + error);
    expect(handler_of(SIGUSR2) == SIG_DFL, "nothing stays installed");
  });
}

// asyncio: test_unix_events SelectorEventLoopSignalTests.test_close
TEST_CASE("A SignalStream that outlives its loop has given its signals back", "[signals]") {
  std::optional<SignalStream> signals;
  {
    EventLoop loop(Config{.workers = 2});
    loop.run_until_complete([&] { signals.emplace(SignalStream{SIGUSR1}); });
    CHECK(handler_of(SIGUSR1) != SIG_DFL);
  }
  CHECK(handler_of(SIGUSR1) == SIG_DFL);
  CHECK_FALSE(signals->try_next().has_value());
  EventLoop other(Config{.workers = 1});
  CHECK_THROWS_AS(other.run_until_complete([&] { signals->next(); }), RuntimeError);
  SignalStream* const left = &*signals;
  other.run_until_complete([&] { *left = SignalStream{SIGUSR1}; });
  CHECK(handler_of(SIGUSR1) != SIG_DFL);
  signals.reset();
  CHECK(handler_of(SIGUSR1) == SIG_DFL);
}

TEST_CASE("With virtual time a wait for a signal is no deadlock", "[signals]") {
  Config config;
  config.workers = 1;
  config.virtual_time = true;
  EventLoop loop(config);
  loop.run_until_complete([] {
    SignalStream signals{SIGUSR1};
    std::thread sender([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ::kill(::getpid(), SIGUSR1);
    });
    const int signal = signals.next();
    sender.join();
    expect_equal(signal, SIGUSR1, "the signal");
  });
}

TEST_CASE("A SignalStream for SIGINT takes it from run, and gives it back", "[signals]") {
  const fibrio::test::ChildResult result = fibrio::test::run_in_child([] {
    ::signal(SIGINT, SIG_DFL);
    bool interrupted = false;
    try {
      run(
          [] {
            {
              SignalStream signals{SIGINT};
              for (int i = 0; i < 3; ++i) {
                ::kill(::getpid(), SIGINT);
                require(signals.next() == SIGINT, "the signal");
              }
              require(current_task().cancelling() == 0, "no cancel");
            }
            ::kill(::getpid(), SIGINT);
            sleep(10s);
          },
          Config{.workers = 2});
    } catch (const KeyboardInterrupt&) {
      interrupted = true;
    }
    require(interrupted, "a KeyboardInterrupt afterwards");
  });
  CHECK(result.errors == "");
  CHECK(result.signal == 0);
  CHECK(result.exit_code == 0);
}

// asyncio: test_unix_events TestFork.test_fork_signal_handling
TEST_CASE("A forked child's signals do not reach the parent's SignalStream", "[signals]") {
  if (fibrio::test::kThreadSanitizer) return;  // it delivers no signal to the child of a process with threads
  on_loops([] {
    SignalStream signals{SIGUSR1};
    const pid_t child = ::fork();
    if (child == 0) {
      ::kill(::getpid(), SIGUSR1);  // the child has what was there before: the default, which ends it
      ::_exit(1);
    }
    int status = 0;
    expect(::waitpid(child, &status, 0) == child, "the child");
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1, "the child's own death");
    expect(!signals.try_next().has_value(), "nothing in the parent");
    send_self(SIGUSR1);
    expect_equal(signals.next(), SIGUSR1, "the parent's own");
  });
}
