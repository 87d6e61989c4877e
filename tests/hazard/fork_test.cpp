// fork: the child has the parent's loops in its memory but not their threads, and shares their epoll
// instances. It gets clear errors, may make loops of its own, and does the parent no harm.
#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/process.hpp"
#include "support/setups.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

// What went wrong in the child, as text to stderr; exits.
class Child {
 public:
  void expect(bool is_true, const char* what) {
    if (is_true) return;
    failed_ = true;
    static_cast<void>(!::write(STDERR_FILENO, what, std::strlen(what)));
    static_cast<void>(!::write(STDERR_FILENO, "; ", 2));
  }
  template <class Call>
  void throws_runtime_error(Call&& call, const char* what) {
    try {
      call();
      expect(false, what);
    } catch (const fibrio::RuntimeError&) {
    }
  }
  [[noreturn]] void exit() { ::_exit(failed_ ? 1 : 0); }

 private:
  bool failed_ = false;
};

// Forks here, in a task or not; returns the child's exit code, or minus its signal.
template <class Body>
int in_forked_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);  // a child that hangs dies
    Child self;
    try {
      body(self);
    } catch (const std::exception& error) {
      self.expect(false, error.what());
    }
    self.exit();
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int run_own_loop(std::size_t workers) {
  return fibrio::run(
      [] {
        auto task = fibrio::create_task([] {
          fibrio::sleep(1ms);
          return 20;
        });
        return fibrio::await(task) + fibrio::to_thread([] { return 1; });
      },
      config_of({workers, false}));
}

// Waits, without giving way, until all workers but the one this runs on have gone to sleep. In a child the
// locks of the allocator stay as they are at the moment of the fork, and neither tbbmalloc nor
// AddressSanitizer's allocator takes care of that: a parent's thread that allocates just then would leave the
// child with a lock that nobody opens.
void let_the_others_sleep() {
  const auto sleepers = [] {
    const auto workers = fibrio::get_running_loop().stats().workers;
    return std::count_if(workers.begin(), workers.end(), [](const auto& worker) { return worker.parks > 0; });
  };
  const auto others = static_cast<std::ptrdiff_t>(fibrio::get_running_loop().workers()) - 1;
  while (sleepers() < others) std::this_thread::yield();
}

// TSan refuses threads in a child of a process with threads.
constexpr std::size_t kChildWorkers = kThreadSanitizer ? 1 : 2;

struct Pair {
  int fds[2];
  Pair() {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() {
    ::close(fds[0]);
    ::close(fds[1]);
  }
};

void uses_of_the_parents_loop(Child& child, fibrio::EventLoop& loop, const fibrio::Future<>& pending) {
  child.throws_runtime_error([&] { loop.run_forever(); }, "run_forever");
  child.throws_runtime_error([&] { loop.run_until_complete([] {}); }, "run_until_complete");
  child.throws_runtime_error([&] { loop.call_soon([] {}); }, "call_soon");
  child.throws_runtime_error([&] { loop.call_later(1ms, [] {}); }, "call_later");
  child.throws_runtime_error([&] { static_cast<void>(loop.create_task([] {})); }, "create_task on the loop");
  child.throws_runtime_error([&] { static_cast<void>(loop.run_in_executor(nullptr, [] {})); },
                             "run_in_executor");
  child.throws_runtime_error([&] { loop.add_reader(0, [] {}); }, "add_reader");
  child.throws_runtime_error([&] { loop.add_signal_handler(SIGUSR1, [] {}); }, "add_signal_handler");
  child.throws_runtime_error([&] { pending.wait(); }, "waiting for a future of the loop");
  child.throws_runtime_error([] { fibrio::sleep(1ms); }, "sleep");
  child.throws_runtime_error([] { fibrio::yield(); }, "yield");
  child.throws_runtime_error([] { static_cast<void>(fibrio::create_task([] {})); }, "create_task");
  child.throws_runtime_error([] { static_cast<void>(fibrio::get_running_loop()); }, "get_running_loop");
}

}  // namespace

TEST_CASE("A child that was forked inside a task gets RuntimeErrors from the parent's loop", "[fork]") {
  if (kThreadSanitizer) return;  // the child of a process with threads may not lock, says TSan, and it does
  with_all_setups([](const Setup& setup) {
    int code = -1;
    run_with(setup, [&] {
      auto& loop = fibrio::get_running_loop();
      auto pending = loop.create_future();
      fibrio::to_thread([] {});  // the parent has an executor
      code = in_forked_child([&](Child& child) { uses_of_the_parents_loop(child, loop, pending); });
      fibrio::sleep(1ms);
    });
    CHECK(code == 0);
  });
}

TEST_CASE("A child that was forked outside of the loop gets RuntimeErrors from the parent's loop", "[fork]") {
  if (kThreadSanitizer) return;
  with_all_setups([](const Setup& setup) {
    const ForcedMigration migration(setup.migrate);
    fibrio::EventLoop loop(config_of(setup));
    auto pending = loop.create_future();
    loop.run_until_complete([] { fibrio::yield(); });
    CHECK(in_forked_child([&](Child& child) { uses_of_the_parents_loop(child, loop, pending); }) == 0);
    loop.run_until_complete([] { fibrio::sleep(1ms); });
  });
}

TEST_CASE("A forked child makes a loop of its own", "[fork]") {
  with_all_setups([](const Setup& setup) {
    int inside = -1;
    int outside = -1;
    const auto body = [](Child& child) {
      if (!kThreadSanitizer) child.expect(run_own_loop(kChildWorkers) == 21, "its own loop does not work");
      child.expect(fibrio::run([] { return 3; }, config_of({1, false})) == 3,
                   "its own lone worker does not work");
    };
    run_with(setup, [&] {
      let_the_others_sleep();
      inside = in_forked_child(body);
    });
    outside = in_forked_child(body);
    CHECK(inside == 0);
    CHECK(outside == 0);
  });
}

// Seen as: a daemon's child that hangs in malloc, or in a library's lock which a thread of the pool had at the fork.
TEST_CASE("A process may fork right after its loop is closed: no thread of it is left", "[fork]") {
  if (kThreadSanitizer) return;  // it has a thread of its own
  for (int round = 0; round < 60; ++round) {
    const std::size_t workers = std::size_t{1} << (round % 3);
    const auto use = [](int calls) {
      std::vector<fibrio::Task<int>> tasks;
      for (int i = 0; i < calls; ++i) {
        tasks.push_back(fibrio::create_task([] { return fibrio::to_thread([] { return 7; }); }));
      }
      int sum = 0;
      for (auto& task : tasks) sum += fibrio::await(task);
      static_cast<void>(fibrio::getaddrinfo("localhost", "80"));
      return sum;
    };
    CHECK(fibrio::run([&] { return use(8); }, config_of({workers, false})) == 56);
    CHECK(std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}) == 1);
    const int code = in_forked_child([&](Child& child) {
      std::vector<std::string> blocks(100, std::string(1000, 'x'));
      std::thread([&blocks] { blocks.emplace_back(5000, 'y'); }).join();
      child.expect(blocks.size() == 101, "a thread of the child's");
      child.expect(fibrio::run([&] { return use(2); }, config_of({1, false})) == 14, "a loop of the child's");
    });
    CHECK(code == 0);
  }
}

TEST_CASE("The end of a forked child leaves the parent's epoll registrations alone", "[fork]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    int code = -1;
    run_with(setup, [&] {
      auto& loop = fibrio::get_running_loop();
      auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
      auto client = std::make_unique<fibrio::TcpStream>(fibrio::TcpStream::connect(listener.local_address()));
      auto server = std::make_unique<fibrio::TcpStream>(listener.accept());
      Pair watched;
      std::atomic<int> called{0};
      loop.add_reader(watched.fds[0], [&] {
        char byte = 0;
        if (::read(watched.fds[0], &byte, 1) == 1) ++called;
      });
      Pair waited;
      auto waiter = fibrio::create_task([&] { fibrio::wait_readable(waited.fds[0]); });
      auto reader = fibrio::create_task([&] {
        std::byte buffer[8];
        return server->read_some(buffer);
      });
      fibrio::sleep(1ms);  // all are registered
      code = in_forked_child([&](Child&) {
        client.reset();  // takes out of epoll, if it were allowed to, what the parent waits for
        server.reset();
        listener.close();
        loop.remove_reader(watched.fds[0]);
      });
      fibrio::TcpStream second = fibrio::TcpStream::connect(listener.local_address());
      fibrio::TcpStream accepted = listener.accept();
      client->write_all(std::string_view("12345"));
      expect(fibrio::await(reader) == 5, "the stream's registration is gone");
      expect(::write(waited.fds[1], "x", 1) == 1, "write");
      fibrio::await(waiter);
      expect(::write(watched.fds[1], "x", 1) == 1, "write");
      for (int i = 0; i < 2000 && called == 0; ++i) fibrio::sleep(1ms);
      expect(called == 1, "the reader callback is gone");
      loop.remove_reader(watched.fds[0]);
    });
    CHECK(code == 0);
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("A forked child closes streams while the parent's other workers are busy", "[fork]") {
  with_all_setups([](const Setup& setup) {
    int failed = 0;
    std::atomic<bool> enough{false};
    const auto keep_busy = [&] {  // workers go to sleep and are woken all the time
      while (!enough) fibrio::sleep(20us);
    };
    run_with(setup, [&] {
      fibrio::task_group([&](fibrio::TaskGroup& group) {
        for (int i = 0; i < 8; ++i) group.create_task(keep_busy);
        for (int round = 0; round < 100; ++round) {
          auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
          auto client =
              std::make_unique<fibrio::TcpStream>(fibrio::TcpStream::connect(listener.local_address()));
          auto server = std::make_unique<fibrio::TcpStream>(listener.accept());
          auto reader = group.create_task([&] {
            std::byte buffer[8];
            return server->read_some(buffer);
          });
          fibrio::sleep(100us);
          const int code = in_forked_child([&](Child&) {
            server.reset();  // in the parent its reader would become ready
            client.reset();
            listener.close();
          });
          failed += code != 0;
          client->close();
          fibrio::await(reader);
        }
        enough = true;
      });
    });
    CHECK(failed == 0);
  });
}

TEST_CASE("A signal to a forked child does not reach the parent's handler", "[fork]") {
  if (kThreadSanitizer) return;  // it puts signals off, and forgets them over a change of the handler
  with_all_setups([](const Setup& setup) {
    std::atomic<int> called{0};
    int code = 0;
    run_with(setup, [&] {
      auto& loop = fibrio::get_running_loop();
      loop.add_signal_handler(SIGUSR1, [&] { ++called; });
      code = in_forked_child([](Child&) {
        ::raise(SIGUSR1);  // the default action again: the handler belongs to the parent's loop
        ::sleep(1);
      });
      fibrio::sleep(20ms);
    });
    CHECK(called == 0);
    CHECK(code == -SIGUSR1);
  });
}

TEST_CASE("SIGINT to a forked child does not cancel the parent's main task", "[fork]") {
  if (kThreadSanitizer) return;
  int code = 0;
  run_with({2, false}, [&] {
    code = in_forked_child([](Child&) {
      ::raise(SIGINT);
      ::sleep(1);
    });
    fibrio::sleep(20ms);
  });
  CHECK(code == -SIGINT);
}

TEST_CASE("A child that was forked in a task and runs exit leaves the parent alone", "[fork]") {
  with_all_setups([](const Setup& setup) {
    int sum = 0;
    int status = -1;
    run_with(setup, [&] {
      auto task = fibrio::create_task([&] {
        for (int i = 0; i < 20; ++i) {
          fibrio::sleep(100us);
          ++sum;
        }
      });
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(20);
        if (kAnySanitizer) ::_exit(3);  // their leak checks want all threads
        ::freopen("/dev/null", "w", stdout);
        std::exit(3);
      }
      ::waitpid(child, &status, 0);
      fibrio::await(task);
    });
    CHECK(sum == 20);
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 3));
  });
}

TEST_CASE("A task that ends in a forked child ends the child with a message", "[fork]") {
  const auto child = run_in_child([] {
    fibrio::run([] {
      const pid_t inner = ::fork();
      if (inner == 0) return;  // as if nothing had happened
      int status = 0;
      ::waitpid(inner, &status, 0);
      if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) ::_exit(1);
    });
  });
  CAPTURE(child.errors);
  CHECK(child.exit_code == 0);
  CHECK_THAT(child.errors, Catch::Contains("forked child"));
}
