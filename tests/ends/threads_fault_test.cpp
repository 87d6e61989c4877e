// Threads that cannot be had: of workers, of the executor, of the resolver.
#include <atomic>
#include <string>
#include <system_error>

#include "ends/tally.hpp"
#include "support/faults.hpp"
#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

using ThreadFault = Fault<&sys::Syscalls::create_thread>;

bool names_the_limits(const std::system_error& error, int number) {
  const std::string text = error.what();
  return error.code().value() == number && text.find("RLIMIT_NPROC") != std::string::npos;
}

// True if `call` fails with this error, which says why.
template <class Call>
bool fails_with(int error, const Call& call) {
  try {
    call();
  } catch (const std::system_error& failure) {
    return names_the_limits(failure, error);
  }
  return false;
}

}  // namespace

TEST_CASE("A loop that gets no thread for a worker throws before any task runs, and may run later",
          "[ends][fault]") {
  Tally tally("threads of workers");
  const ScopedSyscalls table;
  const NothingLeft nothing_left;
  ThreadFault create;
  for (const std::size_t workers : {2, 4}) {
    for (int k = 1; k < static_cast<int>(workers); ++k) {
      for (const int error : {EAGAIN, EPERM, ENOMEM}) {
        INFO("workers " << workers << ", thread " << k << ", error " << error);
        const Config config = test_config(workers, false);
        std::atomic<int> ran{0};
        bool is_right = true;
        const auto check = [&](bool is_true) { is_right = is_true && is_right; };
        const auto arm = [&] { create.arm(-error, {.first = k, .times = kAlways}); };
        arm();
        check(fails_with(error, [&] { fibrio::run([&] { ++ran; }, config); }));
        check(create.hits() > 0);
        create.disarm();
        fibrio::run([&] { ran += 10; }, config);

        // The user's loop, with what it was given before: it stays, and runs when there are threads.
        EventLoop loop(config);
        const Task<> task = loop.create_task([&] { ran += 100; });
        loop.call_soon([&] { ran += 1000; });
        arm();
        check(fails_with(error, [&] { loop.run_until_complete([&] { ++ran; }); }));
        check(fails_with(error, [&] { loop.run_until_complete(task); }));
        check(fails_with(error, [&] { loop.run_forever(); }));
        check(loop.stats().tasks_alive == 1);
        create.disarm();
        loop.run_until_complete(task);
        check(ran == 1110);
        CHECK(is_right);
        tally.run(std::to_string(workers) + " workers, thread " + std::to_string(k), create.hits() > 0,
                  is_right);
      }
    }
  }
}

TEST_CASE("A loop that never got its threads can be closed with all that it was given", "[ends][fault]") {
  const ScopedSyscalls table;
  ThreadFault create;
  {
    for (const auto& [workers, virtual_time] :
         {std::pair<std::size_t, bool>{2, false}, {4, false}, {2, true}, {4, true}}) {
      INFO(workers << " workers, virtual time " << virtual_time);
      const NothingLeft nothing_left;
      const auto token = std::make_shared<int>(0);
      int ran = 0;
      int cleaned_up = 0;
      create.arm(-EAGAIN, {.times = kAlways});
      {
        EventLoop loop(test_config(workers, virtual_time));
        loop.set_exception_handler([](EventLoop&, const ExceptionContext&) {});
        for (int i = 0; i < 10; ++i) loop.create_task([&ran, token] { ++ran; });
        loop.call_later(1h, [token] {});
        // It runs while the loop closes, and waits then.
        loop.call_soon([&] {
          create_task([&] {
            try {
              sleep(1h);
            } catch (const CancelledError&) {
              const CancelMask mask;
              sleep(1ms);
              ++cleaned_up;
              throw;
            }
          });
        });
        CHECK_THROWS_AS(loop.run_forever(), std::system_error);
        CHECK(token.use_count() == 12);
      }
      CHECK(token.use_count() == 1);
      CHECK(ran == 0);
      CHECK(cleaned_up <= 1);
      create.disarm();
    }
  }
}

TEST_CASE("A call on a thread pool that gets no thread fails, and waits if there is one", "[ends][fault]") {
  Tally tally("threads of pools");
  const ScopedSyscalls table;
  ThreadFault create;
  for (const int error : {EAGAIN, EPERM}) {
    Config config = test_config(1, false);
    config.max_blocking_threads = 4;
    fibrio::run(
        [&] {
          create.arm(-error, {.times = kAlways});
          bool is_right = fails_with(error, [] { to_thread([] {}); });
          is_right = fails_with(error, [] { static_cast<void>(getaddrinfo("localhost", 80)); }) && is_right;
          create.disarm();
          is_right = to_thread([] { return 1; }) == 1 && is_right;
          // One thread, and no more: the calls wait for it.
          create.arm(-error, {.times = kAlways});
          std::vector<Task<int>> calls;
          for (int i = 0; i < 20; ++i)
            calls.push_back(create_task([i] { return to_thread([i] { return i; }); }));
          int sum = 0;
          for (Task<int>& call : calls) sum += await(call);
          is_right = sum == 190 && is_right;
          create.disarm();
          TASK_CHECK(is_right);
          tally.run("error " + std::to_string(error), true, is_right);
        },
        config);
    report_failures();
  }
}
