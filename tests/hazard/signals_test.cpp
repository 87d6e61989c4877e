// Signals on a fiber: a handler with SA_ONSTACK runs on the worker's own alternate stack, not on the task's
// (a frame with AVX-512 or AMX state takes 3 to 12 KiB).
#include <csignal>

#include <pthread.h>
#include <sys/time.h>

#include "sched/this_worker.hpp"
#include "support/process.hpp"
#include "support/setups.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

std::atomic<const void*> handler_frame{nullptr};
std::atomic<int> handled{0};

// A worker's fibers share its alternate stack. ThreadSanitizer, which is not told of an order between them
// (that would hide races), takes their handlers' frames there for a race.
__attribute__((no_sanitize("thread"))) void on_signal(int) {
  const volatile char here = 0;
  handler_frame.store(const_cast<const char*>(&here));
  handled.fetch_add(1);
}

struct ScopedHandler {
  struct sigaction before {};
  int signal;
  ScopedHandler(int its_signal, int flags) : signal(its_signal) {
    struct sigaction action {};
    action.sa_handler = &on_signal;
    action.sa_flags = flags;
    ::sigaction(signal, &action, &before);
  }
  ScopedHandler(const ScopedHandler&) = delete;
  ScopedHandler& operator=(const ScopedHandler&) = delete;
  ~ScopedHandler() { ::sigaction(signal, &before, nullptr); }
};

}  // namespace

TEST_CASE("A signal handler with SA_ONSTACK does not run on the task's stack", "[signals]") {
  if (kAnySanitizer) return;  // they call handlers from their own frames
  const ScopedHandler handler(SIGUSR2, SA_ONSTACK);
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      for (int i = 0; i < 20; ++i) {
        fibrio::TaskOptions options;
        options.stack_size = 16 * 1024;
        fibrio::await(fibrio::create_task(options, [&] {
          fibrio::yield();
          ::pthread_kill(::pthread_self(), SIGUSR2);
          const volatile char here = 0;
          const auto distance = reinterpret_cast<std::intptr_t>(handler_frame.load()) -
                                reinterpret_cast<std::intptr_t>(const_cast<const char*>(&here));
          expect(distance > 16 * 1024 || distance < -16 * 1024, "the handler ran on the fiber's stack");
        }));
      }
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("Signals that interrupt everything disturb no task", "[signals]") {
  const ScopedHandler handler(SIGALRM, SA_ONSTACK);  // no SA_RESTART: calls come back with EINTR
  handled = 0;
  with_all_setups([](const Setup& setup) {
    Expect expect;
    itimerval timer{};
    timer.it_interval.tv_usec = timer.it_value.tv_usec = 200;
    ::setitimer(ITIMER_REAL, &timer, nullptr);
    run_with(setup, [&] {
      auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
      auto server = fibrio::create_task([&] {
        auto stream = listener.accept();
        std::byte buffer[4096];
        std::size_t sum = 0;
        for (std::size_t got = 0; (got = stream.read_some(buffer)) != 0;) sum += got;
        return sum;
      });
      auto sleeper = fibrio::create_task([&] {
        for (int i = 0; i < 20; ++i) {
          const auto before = std::chrono::steady_clock::now();
          fibrio::sleep(1ms);
          expect(std::chrono::steady_clock::now() - before >= 1ms, "a sleep was cut short");
        }
      });
      auto stream = fibrio::TcpStream::connect(listener.local_address());
      const std::string text(10'000, 'x');
      for (int i = 0; i < 50; ++i) stream.write_all(std::string_view(text));
      stream.close();
      expect(fibrio::await(server) == 50 * text.size(), "bytes are missing");
      expect(fibrio::to_thread([] { return 7; }) == 7, "an offloaded call was disturbed");
      fibrio::await(sleeper);
    });
    timer = {};
    ::setitimer(ITIMER_REAL, &timer, nullptr);
    CHECK(expect.failures() == "");
  });
  CHECK(handled > 0);
}

TEST_CASE("A signal callback runs on the loop, once per signal at least", "[signals]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      auto& loop = fibrio::get_running_loop();
      std::atomic<int> called{0};
      loop.add_signal_handler(SIGUSR1, [&] {
        expect(fibrio::detail::this_worker() != nullptr, "called outside of the loop");
        ++called;
      });
      for (int i = 1; i <= 10; ++i) {
        ::raise(SIGUSR1);
        for (int wait = 0; wait < 2000 && called < i; ++wait) fibrio::sleep(1ms);
        expect(called == i, "a signal was lost, or counted twice");
      }
      expect(loop.remove_signal_handler(SIGUSR1), "the handler is gone");
    });
    CHECK(expect.failures() == "");
  });
}
