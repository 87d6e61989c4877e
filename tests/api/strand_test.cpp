// Strands: what is on one never runs in parallel, in asyncio's order, whatever the number of workers.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Notices two that are inside at the same time.
class Alone {
 public:
  class Visit {
   public:
    explicit Visit(Alone& place) : place_(place) {
      TASK_CHECK(place_.inside_.fetch_add(1) == 0);
      for (int i = 0; i < 50; ++i) static_cast<void>(place_.inside_.load());
    }
    ~Visit() { place_.inside_.fetch_sub(1); }

   private:
    Alone& place_;
  };
  Visit visit() { return Visit(*this); }

 private:
  std::atomic<int> inside_{0};
};

}  // namespace

TEST_CASE("Tasks on a strand never run in parallel, and see what the others did", "[strand]") {
  in_tasks([](EventLoop&) {
    Strand strand;
    int plain = 0;  // no lock, no atomic
    Alone alone;
    std::vector<Task<>> tasks;
    for (int i = 0; i < 100; ++i) {
      tasks.push_back(strand.create_task([&] {
        for (int step = 0; step < 20; ++step) {
          {
            const auto visit = alone.visit();
            ++plain;
          }
          if (step % 3 == 0) {
            yield();
          } else {
            sleep(1us);
          }
        }
      }));
    }
    for (auto& task : tasks) await(task);
    TASK_CHECK(strand.run([&] { return plain; }) == 2000);
  });
}

TEST_CASE("A strand is free while its task waits", "[strand]") {
  in_tasks([](EventLoop& loop) {
    Strand strand;
    Future<> opened = loop.create_future();
    auto waiter = strand.create_task([&] { await(opened); });
    await(strand.create_task([&] { opened.set_result(); }));
    await(waiter);
  });
}

TEST_CASE("What a task on a strand starts is on that strand: tasks, callbacks, timers, group children",
          "[strand]") {
  in_tasks([](EventLoop& loop) {
    Strand strand;
    const auto is_here = [&] {
      return Strand::current() != nullptr && Strand::current()->state() == strand.state();
    };
    TASK_CHECK(Strand::current() == nullptr);
    await(strand.create_task([&] {
      TASK_CHECK(is_here());
      await(create_task([&] { TASK_CHECK(is_here()); }));
      await(loop.create_task([&] { TASK_CHECK(is_here()); }));
      task_group([&](TaskGroup& group) { group.create_task([&] { TASK_CHECK(is_here()); }); });
      gather([&] { TASK_CHECK(is_here()); }, [&] { TASK_CHECK(is_here()); });
      timeout(1s, [&] { TASK_CHECK(is_here()); });
      wait_for([&] { TASK_CHECK(is_here()); }, 1s);
      int called = 0;
      const auto note = [&] {
        TASK_CHECK(is_here());
        ++called;
      };
      loop.call_soon(note);
      loop.call_later(1ms, note);
      Future<> done = loop.create_future();
      done.add_done_callback([&](const AnyFuture&) { note(); });
      spawn([done]() mutable { done.set_result(); });  // completed elsewhere; the callback runs here
      sleep(10ms);
      TASK_CHECK(called == 3);
      TASK_CHECK(is_here());
    }));
  });
}

TEST_CASE("spawn leaves the strand", "[strand]") {
  in_tasks([](EventLoop&) {
    Strand strand;
    strand.run([&] {
      await(spawn([] {
        TASK_CHECK(Strand::current() == nullptr);
        await(create_task([] { TASK_CHECK(Strand::current() == nullptr); }));
      }));
      TASK_CHECK(throws<std::invalid_argument>([&] { spawn(TaskOptions{.strand = &strand}, [] {}); }));
    });
  });
}

TEST_CASE("Strand::run calls on another strand and returns the value; on its own it calls at once",
          "[strand]") {
  in_tasks([](EventLoop&) {
    Strand first;
    Strand second;
    const int value = first.run([&] {
      const Strand* mine = Strand::current();
      const int got = second.run([&] {
        TASK_CHECK(Strand::current()->state() == second.state());
        return first.run([&] { return first.run([] { return 7; }); });
      });
      TASK_CHECK(Strand::current() == mine);
      return got;
    });
    TASK_CHECK(value == 7);
    TASK_CHECK(throws<std::out_of_range>([&] { first.run([]() -> int { throw std::out_of_range("x"); }); }));
    const auto moved = first.run([] { return std::make_unique<int>(3); });
    TASK_CHECK(*moved == 3);
  });
}

TEST_CASE("A cancel of who is in Strand::run goes on to what runs there", "[strand]") {
  in_tasks([](EventLoop&) {
    Strand strand;
    bool seen = false;
    auto caller = create_task([&] {
      strand.run([&] {
        try {
          sleep(1h);
        } catch (const CancelledError&) {
          seen = true;
          throw;
        }
      });
    });
    sleep(1ms);
    caller.cancel();
    TASK_CHECK(throws<CancelledError>([&] { await(caller); }));
    TASK_CHECK(seen);
  });
}

TEST_CASE("From outside a task is put on a strand by its options; the strand need not live as long",
          "[strand]") {
  on_loops([](EventLoop& loop) {
    auto strand = std::make_unique<Strand>("short-lived");
    auto task = loop.create_task(TaskOptions{.strand = strand.get()}, [&] {
      strand.reset();
      TASK_CHECK(Strand::current()->name() == "short-lived");
      sleep(1ms);
      return await(create_task([] { return Strand::current()->name(); }));
    });
    CHECK(loop.run_until_complete(task) == "short-lived");
    CHECK(throws<RuntimeError>([&] { Strand().create_task([] {}); }));
  });
}

TEST_CASE("A strand has the tasks of one loop at a time", "[strand]") {
  on_loops([](EventLoop& loop) {
    Strand strand;
    loop.run_until_complete([&] { strand.run([] {}); });
    {
      EventLoop other(test_config(2));
      CHECK(throws<RuntimeError>([&] { other.create_task(TaskOptions{.strand = &strand}, [] {}); }));
    }
    loop.close();
    EventLoop other(test_config(2));
    CHECK(other.run_until_complete([&] { return strand.run([] { return 5; }); }) == 5);
  });
}

TEST_CASE("A loop that is closed cancels the tasks of its strands, and drops their callbacks", "[strand]") {
  on_loops([](EventLoop& loop) {
    Strand strand;
    Log log;
    auto kept = std::make_shared<int>(1);
    loop.run_until_complete([&] {
      strand.run([&] {
        loop.call_later(1h, [kept] {});
        loop.call_later(2h, [kept] {});
        create_task([&log] {
          try {
            sleep(3h);
          } catch (const CancelledError&) {
            log.add("cancelled");
            throw;
          }
        });
        yield();
      });
      strand.create_task([&loop, kept] { loop.call_soon([kept] {}); });
    });
    loop.close();
    CHECK(log.text() == "cancelled");
    CHECK(kept.use_count() == 1);
  });
}

TEST_CASE("Timers of a strand fire between its code, in the order of their deadlines", "[strand]") {
  const auto body = [](EventLoop& loop) {
    Strand strand;
    std::vector<int> fired;
    loop.run_until_complete([&] {
      strand.run([&] {
        for (const int i : {3, 1, 2, 0}) {
          loop.call_later(i * 5ms, [&fired, i] { fired.push_back(i); });
        }
        // Longer than all of them: none may fire beside this.
        const auto until = std::chrono::steady_clock::now() + 30ms;
        while (std::chrono::steady_clock::now() < until) {
        }
        TASK_CHECK(fired.empty());
        sleep(1ms);
      });
    });
    CHECK(fired == std::vector<int>{0, 1, 2, 3});
  };
  for (const std::size_t workers : {1U, 2U, 4U}) {
    INFO("workers " << workers);
    EventLoop loop(test_config(workers, false));
    body(loop);
  }
}

TEST_CASE("C16 on a strand: a deadline that passes while the body computes has no effect", "[strand]") {
  for (const std::size_t workers : {1U, 2U, 4U}) {
    INFO("workers " << workers);
    EventLoop loop(test_config(workers, false));
    loop.run_until_complete([&] {
      Strand strand;
      strand.run([] {
        const int value = timeout(1ms, [](Timeout& scope) {
          const auto until = std::chrono::steady_clock::now() + 20ms;
          while (std::chrono::steady_clock::now() < until) {
          }
          TASK_CHECK(!scope.expired());
          return 4;
        });
        TASK_CHECK(value == 4);
        TASK_CHECK(current_task().cancelling() == 0);
      });
    });
    report_failures();
  }
}

TEST_CASE("A timeout on a strand can be rescheduled from another one", "[strand]") {
  in_tasks([](EventLoop& loop) {
    Strand first;
    Strand second;
    Future<Timeout*> scope_of_first = loop.create_future<Timeout*>();
    auto body = first.create_task([&] {
      timeout(1h, [&](Timeout& scope) {
        scope_of_first.set_result(&scope);
        sleep(2h);
      });
    });
    second.run([&] {
      Timeout& scope = *await(scope_of_first);
      sleep(1s);
      scope.reschedule(loop.time() + 1s);
    });
    TASK_CHECK(throws<TimeoutError>([&] { await(body); }));
    TASK_CHECK(loop.time().time_since_epoch() == 2s);
  });
}

TEST_CASE("Readers and signal handlers run on the strand of who added them", "[strand]") {
  in_tasks(
      [](EventLoop& loop) {
        Strand strand;
        int fds[2];
        TASK_CHECK(::pipe(fds) == 0);
        Future<bool> read = loop.create_future<bool>();
        Future<bool> signalled = loop.create_future<bool>();
        strand.run([&] {
          loop.add_reader(fds[0], [&] {
            loop.remove_reader(fds[0]);
            read.set_result(Strand::current() != nullptr);
          });
          loop.add_signal_handler(SIGUSR1, [&] { signalled.try_set_result(Strand::current() != nullptr); });
        });
        TASK_CHECK(::write(fds[1], "x", 1) == 1);
        TASK_CHECK(await(read));
        ::raise(SIGUSR1);
        TASK_CHECK(await(signalled));
        loop.remove_signal_handler(SIGUSR1);
        ::close(fds[0]);
        ::close(fds[1]);
      },
      false);
}

TEST_CASE("Different strands run at the same time", "[strand]") {
  EventLoop loop(test_config(2, false));
  loop.run_until_complete([] {
    Strand first;
    Strand second;
    std::atomic<int> arrived{0};
    const auto meet = [&] {
      ++arrived;
      return eventually([&] { return arrived == 2; });  // without a wait: the other one must run meanwhile
    };
    auto one = first.create_task(meet);
    auto two = second.create_task(meet);
    TASK_CHECK(await(one));
    TASK_CHECK(await(two));
  });
  report_failures();
}

TEST_CASE("A long queue of a strand does not keep others from running", "[strand]") {
  EventLoop loop(test_config(2, false));
  loop.run_until_complete([] {
    Strand strand;
    std::atomic<bool> stop{false};
    std::vector<Task<>> tasks;
    for (int i = 0; i < 500; ++i) {
      tasks.push_back(strand.create_task([&] {
        while (!stop) yield();
      }));
    }
    for (int i = 0; i < 20; ++i) sleep(100us);
    stop = true;
    for (auto& task : tasks) await(task);
    TASK_CHECK(strand.stats().passes > 0);
  });
  report_failures();
}

TEST_CASE("A strand counts its steps and how long it waited", "[strand]") {
  EventLoop loop(test_config(2, false));
  loop.run_until_complete([] {
    Strand strand;
    std::vector<Task<>> tasks;
    for (int i = 0; i < 10; ++i) {
      tasks.push_back(strand.create_task([] {
        for (int step = 0; step < 9; ++step) yield();
      }));
    }
    for (auto& task : tasks) await(task);
    const StrandStats stats = strand.run([&] { return strand.stats(); });
    TASK_CHECK(stats.steps >= 100);
    TASK_CHECK(stats.passes >= 10);
    TASK_CHECK(stats.waited >= stats.longest_wait);
  });
  report_failures();
}
