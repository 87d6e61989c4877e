// add_reader, add_writer, wait_readable, wait_writable, signal handlers.
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Two connected ends, non-blocking, closed at the end.
struct Ends {
  enum Kind { kPipe, kSocket };
  explicit Ends(Kind kind = kPipe) {
    int fds[2];
    const int result = kind == kPipe
                           ? ::pipe2(fds, O_NONBLOCK | O_CLOEXEC)
                           : ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds);
    if (result != 0) throw std::runtime_error("no pair of fds");
    in = fds[0];
    out = fds[1];
  }
  ~Ends() {
    if (in >= 0) ::close(in);
    if (out >= 0) ::close(out);
  }
  Ends(const Ends&) = delete;
  Ends& operator=(const Ends&) = delete;
  void put(char byte = 'x') const { TASK_CHECK(::write(out, &byte, 1) == 1); }
  [[nodiscard]] bool take() const {
    char byte;
    return ::read(in, &byte, 1) == 1;
  }
  // Writes until nothing more goes in.
  void fill() const {
    const std::vector<char> bytes(65536, 'f');
    while (::write(out, bytes.data(), bytes.size()) > 0) {
    }
  }
  void drain() const {
    std::vector<char> bytes(65536);
    while (::read(in, bytes.data(), bytes.size()) > 0) {
    }
  }
  int in = -1;
  int out = -1;
};

}  // namespace

// --- waiting -----------------------------------------------------------------------------------------------

TEST_CASE("wait_readable returns when there is something to read", "[fds]") {
  in_tasks(
      [](EventLoop& loop) {
        for (const Ends::Kind kind : {Ends::kPipe, Ends::kSocket}) {
          const Ends ends(kind);
          ends.put();
          wait_readable(ends.in);  // at once
          TASK_CHECK(ends.take());
          std::atomic<int> got{0};
          Task<> reader = create_task([&] {
            for (int i = 0; i < 50; ++i) {
              while (!ends.take()) wait_readable(ends.in);
              ++got;
            }
          });
          for (int i = 0; i < 50; ++i) {
            ends.put();
            if (i % 3 == 0) yield();
            if (i % 10 == 0) TASK_CHECK(eventually_in_task([&] { return got == i + 1; }));
          }
          await(reader);
          TASK_CHECK(loop.stats().fds == 0);
        }
      },
      false);
}

TEST_CASE("wait_writable returns when there is room", "[fds]") {
  in_tasks(
      [](EventLoop&) {
        const Ends ends;
        wait_writable(ends.out);
        ends.fill();
        std::atomic<bool> writable{false};
        Task<> writer = create_task([&] {
          wait_writable(ends.out);
          writable = true;
        });
        for (int i = 0; i < 20; ++i) yield();
        TASK_CHECK(!writable);
        ends.drain();
        await(writer);
        TASK_CHECK(writable);
      },
      false);
}

TEST_CASE("A hang-up wakes whoever waits", "[fds]") {
  in_tasks(
      [](EventLoop&) {
        for (const Ends::Kind kind : {Ends::kPipe, Ends::kSocket}) {
          Ends ends(kind);
          Task<> reader = create_task([&] {
            wait_readable(ends.in);
            char byte;
            TASK_CHECK(::read(ends.in, &byte, 1) == 0);
          });
          yield();
          ::close(std::exchange(ends.out, -1));
          await(reader);

          Ends other(kind);
          other.fill();
          Task<> writer = create_task([&] { wait_writable(other.out); });
          yield();
          ::close(std::exchange(other.in, -1));
          await(writer);
        }
      },
      false);
}

TEST_CASE("Several tasks wait for one fd, in both directions", "[fds]") {
  in_tasks(
      [](EventLoop&) {
        const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        std::vector<Task<>> tasks;
        for (int i = 0; i < 10; ++i) {
          tasks.push_back(create_task([fd] { wait_readable(fd); }));
          tasks.push_back(create_task([fd] { wait_writable(fd); }));
        }
        for (std::size_t i = 1; i < tasks.size(); i += 2) await(tasks[i]);
        for (std::size_t i = 0; i < tasks.size(); i += 2) TASK_CHECK(!tasks[i].done());
        const std::uint64_t one = 1;
        TASK_CHECK(::write(fd, &one, sizeof one) == sizeof one);
        for (const Task<>& task : tasks) await(task);
        ::close(fd);
      },
      false);
}

TEST_CASE("Cancelling a wait for an fd leaves the fd usable", "[fds]") {
  in_tasks(
      [](EventLoop&) {
        const Ends ends;
        for (int i = 0; i < 30; ++i) {
          Task<> cancelled = create_task([&] { wait_readable(ends.in); });
          Task<> stays = create_task([&] { wait_readable(ends.in); });
          for (int k = 0; k < i % 4; ++k) yield();
          TASK_CHECK(cancelled.cancel());
          TASK_CHECK(throws<CancelledError>([&] { await(cancelled); }));
          TASK_CHECK(!stays.done());
          // C57: at once another wait on the same fd.
          Task<> next = create_task([&] { wait_readable(ends.in); });
          ends.put();
          await(stays), await(next);
          TASK_CHECK(ends.take());
        }
      },
      false);
}

TEST_CASE("A cancel races with the fd getting ready", "[fds]") {
  on_parallel_loops(
      [](EventLoop& loop) {
        loop.run_until_complete([] {
          for (int i = 0; i < 100; ++i) {
            const Ends ends;
            Task<> waiter = spawn([&] { wait_readable(ends.in); });
            yield();
            Task<> writer = spawn([&] { ends.put(); });
            Task<bool> canceller = spawn([&] { return waiter.cancel(); });
            waiter.wait();
            await(writer);
            const bool asked = await(canceller);
            if (waiter.cancelled()) TASK_CHECK(asked);
            TASK_CHECK(ends.take());
          }
        });
      },
      false);
}

TEST_CASE("A reused fd number is a new fd", "[fds]") {
  in_tasks(
      [](EventLoop&) {
        for (int i = 0; i < 20; ++i) {
          const Ends ends;  // most often the same numbers again
          Task<> waiter = create_task([&] { wait_readable(ends.in); });
          yield();
          TASK_CHECK(!waiter.done());
          ends.put();
          await(waiter);
        }
      },
      false);
}

// asyncio: test_unix_events TestFunctional.test_add_reader_invalid_argument
TEST_CASE("An fd that epoll refuses is a system_error that names it", "[fds]") {
  in_tasks(
      [](EventLoop& loop) {
        const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        TASK_CHECK(throws<std::system_error>([&] { wait_readable(file); }));
        TASK_CHECK(throws<std::system_error>([&] { loop.add_reader(file, [] {}); }));
        TASK_CHECK(!loop.remove_reader(file));
        ::close(file);
        TASK_CHECK(throws<std::system_error>([&] { wait_readable(-1); }));
        TASK_CHECK(throws<std::system_error>([&] { wait_writable(file); }));
        TASK_CHECK(throws<std::system_error>([&] { loop.add_writer(-1, [] {}); }));
        TASK_CHECK(!loop.remove_writer(-1));
        try {
          wait_readable(12345);
          TASK_CHECK(false);
        } catch (const std::system_error& error) {
          TASK_CHECK(std::string(error.what()).find("12345") != std::string::npos);
          TASK_CHECK(error.code().value() == EBADF);
        }
      },
      false);
}

TEST_CASE("wait_readable outside a task throws RuntimeError", "[fds]") {
  CHECK_THROWS_AS(wait_readable(0), RuntimeError);
  in_tasks([](EventLoop& loop) {
    Future<> called = loop.create_future();
    loop.call_soon([called]() mutable {
      TASK_CHECK(throws<RuntimeError>([] { wait_writable(1); }));
      called.set_result();
    });
    await(called);
  });
}

TEST_CASE("Closing a loop unwinds tasks that wait for fds", "[fds]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2, 4}) {
    const Ends ends;
    Task<> waiter;
    {
      EventLoop loop(test_config(workers, false));
      waiter = loop.create_task([&] { wait_readable(ends.in); });
      loop.add_reader(ends.in, [] {});
      loop.run_until_complete([] { yield(); });
    }
    CHECK(waiter.cancelled());
  }
}

// --- callbacks ---------------------------------------------------------------------------------------------

// asyncio: test_events EventLoopTestsMixin.test_reader_callback
TEST_CASE("add_reader calls back as long as there is something to read", "[fds]") {
  on_loops(
      [](EventLoop& loop) {
        const Ends ends;
        Log log;
        for (const char byte : {'a', 'b', 'c'}) ends.put(byte);
        loop.add_reader(ends.in, [&] {
          char byte;
          TASK_CHECK(::read(ends.in, &byte, 1) == 1);  // one at a time: level-triggered
          log.add(std::string(1, byte));
          if (byte == 'e') {
            TASK_CHECK(loop.remove_reader(ends.in));
            TASK_CHECK(!loop.remove_reader(ends.in));
            loop.stop();
          }
        });
        loop.call_later(1ms, [&] {
          ends.put('d');
          ends.put('e');
          ends.put('f');
        });
        loop.run_forever();
        CHECK(log.text() == "a b c d e");
        loop.run_until_complete([] { yield(); });
        CHECK(log.text() == "a b c d e");
        CHECK(ends.take());
      },
      false);
}

// asyncio: test_base_events BaseEventLoopTests.test_single_selecter_event_callback_after_stopping
TEST_CASE("stop runs what was found readable once, not again in the next run", "[fds]") {
  on_one_worker(
      [](EventLoop& loop) {
        const Ends ends;
        int calls = 0;
        ends.put();
        loop.add_reader(ends.in, [&] {
          ++calls;
          loop.call_soon([&] { loop.remove_reader(ends.in); });
        });
        for (int run = 0; run < 2; ++run) {
          loop.call_soon([&] { loop.stop(); });
          loop.run_forever();
          CHECK(calls == 1);
        }
      },
      false);
}

// asyncio: test_events EventLoopTestsMixin.test_writer_callback
TEST_CASE("add_writer calls back as long as there is room", "[fds]") {
  on_loops(
      [](EventLoop& loop) {
        const Ends ends;
        std::atomic<int> calls{0};
        loop.add_writer(ends.out, [&] {
          if (++calls == 3) {
            TASK_CHECK(loop.remove_writer(ends.out));
            loop.stop();
          }
        });
        loop.run_forever();
        CHECK(calls == 3);
        CHECK_FALSE(loop.remove_writer(ends.out));
      },
      false);
}

TEST_CASE("Adding a reader again replaces it, readers and writers of one fd are apart", "[fds]") {
  on_loops(
      [](EventLoop& loop) {
        const Ends ends(Ends::kSocket);
        std::atomic<int> reads{0};
        std::atomic<int> writes{0};
        loop.add_reader(ends.in, [] { TASK_CHECK(false); });
        loop.add_reader(ends.in, [&] {
          TASK_CHECK(ends.take());
          ++reads;
        });
        loop.add_writer(ends.in, [&] {
          ++writes;
          loop.remove_writer(ends.in);
        });
        ends.put();
        loop.run_until_complete(
            [&] { TASK_CHECK(eventually_in_task([&] { return reads == 1 && writes == 1; })); });
        CHECK(loop.remove_reader(ends.in));
        CHECK_FALSE(loop.remove_writer(ends.in));
        CHECK(writes == 1);
      },
      false);
}

TEST_CASE("A reader that throws is reported and called again", "[fds]") {
  on_loops(
      [](EventLoop& loop) {
        const Reports reports(loop);
        const Ends ends;
        ends.put();
        std::atomic<int> calls{0};
        loop.add_reader(ends.in, [&] {
          if (++calls == 3) {
            loop.remove_reader(ends.in);
            loop.stop();
          }
          throw std::runtime_error("not today");
        });
        loop.run_forever();
        CHECK(calls == 3);
        CHECK(reports.size() == 3);
      },
      false);
}

TEST_CASE("A reader removed by another callback of the same pass does not run", "[fds]") {
  on_one_worker(
      [](EventLoop& loop) {
        const Ends first;
        const Ends second;
        int calls = 0;
        first.put();
        second.put();
        const auto remove_both = [&] {
          ++calls;
          loop.remove_reader(first.in);
          loop.remove_reader(second.in);
          loop.stop();
        };
        loop.add_reader(first.in, remove_both);
        loop.add_reader(second.in, remove_both);
        loop.run_forever();
        loop.run_until_complete([] { yield(); });
        CHECK(calls == 1);
      },
      false);
}

TEST_CASE("A reader and a waiting task share one fd", "[fds]") {
  in_tasks(
      [](EventLoop& loop) {
        const Ends ends;
        std::atomic<int> calls{0};
        loop.add_reader(ends.in, [&] { ++calls; });
        Task<> waiter = create_task([&] { wait_readable(ends.in); });
        yield();
        ends.put();
        await(waiter);
        TASK_CHECK(eventually_in_task([&] { return calls >= 2; }));
        TASK_CHECK(loop.remove_reader(ends.in));
        // The task's interest is its own.
        TASK_CHECK(ends.take());
        Task<> again = create_task([&] { wait_readable(ends.in); });
        yield();
        ends.put();
        await(again);
      },
      false);
}

TEST_CASE("Replacing a reader whose destructor uses the loop does not deadlock", "[fds]") {
  on_loops(
      [](EventLoop& loop) {
        const Ends ends;
        struct Meddles {
          Meddles(EventLoop& its_loop, int its_fd) : loop(its_loop), fd(its_fd) {}
          ~Meddles() { static_cast<void>(loop.remove_writer(fd)); }
          EventLoop& loop;
          int fd;
        };
        loop.add_reader(ends.in, [meddles = std::make_shared<Meddles>(loop, ends.in)] {});
        loop.add_reader(ends.in, [] {});
        loop.add_reader(ends.in, [meddles = std::make_shared<Meddles>(loop, ends.in)] {});
        CHECK(loop.remove_reader(ends.in));
      },
      false);
}

TEST_CASE("add_reader from another thread wakes the loop", "[fds]") {
  on_loops(
      [](EventLoop& loop) {
        const Ends ends;
        ends.put();
        std::thread thread([&] {
          TASK_CHECK(eventually([&] { return loop.is_running(); }));
          loop.add_reader(ends.in, [&] {
            loop.remove_reader(ends.in);
            loop.stop();
          });
        });
        loop.run_forever();
        thread.join();
      },
      false);
}

// --- signals -----------------------------------------------------------------------------------------------

TEST_CASE("An empty reader, writer or signal handler is refused", "[fds]") {
  on_loops([](EventLoop& loop) {
    const Ends ends;
    CHECK_THROWS_AS(loop.add_reader(ends.in, nullptr), std::invalid_argument);
    CHECK_THROWS_AS(loop.add_writer(ends.out, {}), std::invalid_argument);
    CHECK_THROWS_AS(loop.add_signal_handler(SIGUSR1, nullptr), std::invalid_argument);
    CHECK_FALSE(loop.remove_reader(ends.in));
  });
}

// asyncio: test_events EventLoopTestsMixin.test_add_signal_handler
// asyncio: test_unix_events SelectorEventLoopSignalTests.test_check_signal
TEST_CASE("add_signal_handler refuses signals that cannot be caught", "[signals]") {
  on_loops([](EventLoop& loop) {
    for (const int signal : {0, -1, SIGKILL, SIGSTOP, 1000}) {
      CHECK_THROWS_AS(loop.add_signal_handler(signal, [] {}), std::invalid_argument);
      CHECK_FALSE(loop.remove_signal_handler(signal));
    }
    CHECK_FALSE(loop.remove_signal_handler(SIGUSR1));
  });
}

// asyncio: test_events EventLoopTestsMixin.test_signal_handling_while_selecting
// asyncio: test_unix_events SelectorEventLoopSignalTests.test_remove_signal_handler
TEST_CASE("A signal wakes a sleeping loop and runs its handler as a callback", "[signals]") {
  on_loops(
      [](EventLoop& loop) {
        std::atomic<int> calls{0};
        loop.add_signal_handler(SIGUSR1, [&] {
          TASK_CHECK(&get_running_loop() == &loop);
          TASK_CHECK(!current_task().valid());
          ++calls;
          loop.stop();
        });
        std::thread thread([&] {
          TASK_CHECK(eventually([&] { return loop.is_running(); }));
          ::kill(::getpid(), SIGUSR1);
        });
        loop.run_forever();
        thread.join();
        CHECK(calls == 1);
        CHECK(loop.remove_signal_handler(SIGUSR1));
        CHECK_FALSE(loop.remove_signal_handler(SIGUSR1));
        struct sigaction action {};
        ::sigaction(SIGUSR1, nullptr, &action);
        CHECK(action.sa_handler == SIG_DFL);
      },
      false);
}

TEST_CASE("A signal that comes before the run is handled by the run", "[signals]") {
  on_loops(
      [](EventLoop& loop) {
        std::atomic<int> calls{0};
        loop.add_signal_handler(SIGUSR1, [&] {
          ++calls;
          loop.stop();
        });
        ::raise(SIGUSR1);
        CHECK(calls == 0);
        loop.run_forever();
        CHECK(calls == 1);
        loop.remove_signal_handler(SIGUSR1);
      },
      false);
}

// asyncio: test_unix_events SelectorEventLoopSignalTests.test_remove_signal_handler_2
// asyncio: test_events EventLoopTestsMixin.test_signal_handling_args
TEST_CASE("Handlers of several signals are kept apart; adding again replaces", "[signals]") {
  on_loops(
      [](EventLoop& loop) {
        Log log;
        loop.add_signal_handler(SIGUSR1, [] { TASK_CHECK(false); });
        loop.add_signal_handler(SIGUSR1, [&] { log.add("usr1"); });
        loop.add_signal_handler(SIGUSR2, [&] { log.add("usr2"); });
        loop.run_until_complete([&] {
          ::raise(SIGUSR1);
          TASK_CHECK(eventually_in_task([&] { return log.size() == 1; }));
          ::raise(SIGUSR2);
          TASK_CHECK(eventually_in_task([&] { return log.size() == 2; }));
          TASK_CHECK(loop.remove_signal_handler(SIGUSR1));
          ::raise(SIGUSR2);
          TASK_CHECK(eventually_in_task([&] { return log.size() == 3; }));
        });
        CHECK(log.text() == "usr1 usr2 usr2");
        CHECK(loop.remove_signal_handler(SIGUSR2));
      },
      false);
}

// asyncio: test_unix_events SelectorEventLoopSignalTests.test_close
TEST_CASE("Closing the loop gives the signals back, and another loop may have them then", "[signals]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 4}) {
    EventLoop loop(test_config(workers));
    EventLoop other(test_config(workers));
    loop.add_signal_handler(SIGUSR1, [] {});
    CHECK_THROWS_AS(other.add_signal_handler(SIGUSR1, [] {}), RuntimeError);
    CHECK_FALSE(other.remove_signal_handler(SIGUSR1));
    loop.close();
    struct sigaction action {};
    ::sigaction(SIGUSR1, nullptr, &action);
    CHECK(action.sa_handler == SIG_DFL);
    other.add_signal_handler(SIGUSR1, [] {});
    CHECK(other.remove_signal_handler(SIGUSR1));
  }
}

// asyncio: test_events EventLoopTestsMixin.test_add_signal_handler
// asyncio: test_unix_events SelectorEventLoopSignalTests.test_add_signal_handler
TEST_CASE("A signal handler restores what the program had before", "[signals]") {
  ::signal(SIGUSR2, SIG_IGN);
  {
    EventLoop loop(test_config(1));
    loop.add_signal_handler(SIGUSR2, [] {});
  }
  struct sigaction action {};
  ::sigaction(SIGUSR2, nullptr, &action);
  CHECK(action.sa_handler == SIG_IGN);
  ::signal(SIGUSR2, SIG_DFL);
}

// asyncio: test_unix_events SelectorEventLoopSignalTests.test_handle_signal_cancelled_handler
TEST_CASE("A failing signal handler is reported, a self-removing one works", "[signals]") {
  on_loops(
      [](EventLoop& loop) {
        const Reports reports(loop);
        loop.add_signal_handler(SIGUSR1, [&loop] {
          loop.remove_signal_handler(SIGUSR1);
          throw std::runtime_error("in a handler");
        });
        loop.run_until_complete([&] {
          ::raise(SIGUSR1);
          TASK_CHECK(eventually_in_task([&] { return reports.size() == 1; }));
        });
        CHECK_FALSE(loop.remove_signal_handler(SIGUSR1));
      },
      false);
}
