// task_group and ExceptionGroup: what asyncio's own tests say of them.
#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

struct ZeroDivision : std::runtime_error {
  ZeroDivision() : std::runtime_error("1/0") {}
};

TimePoint now() { return get_running_loop().time(); }

void crash_soon() {
  sleep(100ms);
  throw ZeroDivision();
}

// "[a; [b; c]]": the texts of a group's members; "no group: ..." of anything else.
std::string shape_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const ExceptionGroup& group) {
    std::string text = "[";
    for (const std::exception_ptr& member : group.exceptions()) {
      if (text.size() > 1) text += "; ";
      text += shape_of(member);
    }
    return text + "]";
  } catch (const std::exception& other) {
    return other.what();
  } catch (const CancelledError&) {
    return "CancelledError";
  } catch (...) {
    return "something else";
  }
}

template <class F>
std::string failure_of(F&& call) {
  try {
    static_cast<void>(call());
  } catch (...) {
    return shape_of(std::current_exception());
  }
  return "nothing";
}

// Runs the function as a task, and cancels it after a while.
template <class F>
std::string failure_when_cancelled(Duration delay, F function) {
  auto task = create_task(std::move(function));
  sleep(delay);
  TASK_CHECK(task.cancel());
  return failure_of([&] { await(task); });
}

}  // namespace

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_01
TEST_CASE("task_group waits for all children and returns the body's result", "[task_group]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    int sum = 0;  // of the body: the children may refer to it
    std::mutex lock;
    const auto add = [&](int value) {
      const std::lock_guard guard(lock);
      sum += value;
    };
    const int result = task_group([&](TaskGroup& group) {
      group.create_task([&] {
        sleep(1s);
        add(42);
      });
      Task<int> other = group.create_task([&](int value) { return sleep(2s), add(value), value; }, 11);
      TASK_CHECK(!other.done());
      return 5;
    });
    TASK_CHECK(result == 5);
    TASK_CHECK(sum == 53);
    TASK_CHECK(now() == start + 2s);
    task_group([] {});
    TASK_CHECK(*task_group([](TaskGroup&) { return std::make_unique<int>(3); }) == 3);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_02
// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_24
TEST_CASE("Children may be created while others run, also by children when the body has ended",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    std::atomic<int> ran{0};
    task_group([&](TaskGroup& group) {
      group.create_task([&] {
        sleep(1s);
        ++ran;
        group.create_task([&] {
          sleep(1s);
          ++ran;
          for (int i = 0; i < 3; ++i) group.create_task([&] { ++ran; });
        });
      });
      await(group.create_task([&] { ++ran; }));
      group.create_task([&] { ++ran; });
    });
    TASK_CHECK(ran == 7);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_03
TEST_CASE("C39: a child that is cancelled by itself affects nobody", "[task_group]") {
  in_tasks([](EventLoop&) {
    bool ended = false;
    task_group([&](TaskGroup& group) {
      auto one = group.create_task([] { sleep(1h); });
      group.create_task([&] {
        sleep(1s);
        ended = true;
      });
      group.create_task([] { throw CancelledError("of its own"); });
      sleep(1ms);
      one.cancel();
    });
    TASK_CHECK(ended);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_04
TEST_CASE("A child that fails cancels its siblings and the body; its error comes in a group",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    Task<> sibling;
    bool went_on = false;
    bool body_was_cancelled = false;
    const std::string failure = failure_of([&] {
      task_group([&](TaskGroup& group) {
        sibling = group.create_task([] { sleep(1h); });
        group.create_task(crash_soon);
        try {
          sleep(1h);
        } catch (const CancelledError&) {
          body_was_cancelled = true;
          throw;
        }
        went_on = true;
      });
    });
    TASK_CHECK(failure == "[1/0]");
    TASK_CHECK(sibling.cancelled());
    TASK_CHECK(body_was_cancelled);
    TASK_CHECK(!went_on);
    // asyncio: test_taskgroups BaseTestTaskGroup.test_cancelling_level_preserved
    // asyncio: test_taskgroups BaseTestTaskGroup.test_cancellation_does_not_leak_out_of_tg
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_cancel_children_on_child_error
TEST_CASE("Children that fail in one pass are all in the group, also one that fails on its cancellation",
          "[task_group]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      bool body_was_cancelled = false;
      TASK_CHECK(failure_of([&] {
                   task_group([&](TaskGroup& group) {
                     group.create_task(crash_soon);
                     group.create_task(crash_soon);
                     group.create_task([] {
                       try {
                         sleep(1h);
                       } catch (const CancelledError&) {
                         throw ZeroDivision();
                       }
                     });
                     try {
                       sleep(1h);
                     } catch (const CancelledError&) {
                       body_was_cancelled = true;
                       throw;
                     }
                   });
                 }) == "[1/0; 1/0; 1/0]");
      TASK_CHECK(body_was_cancelled);
      TASK_CHECK(current_task().cancelling() == 0);
    });
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_cancel_children_on_child_error
TEST_CASE("A child's error is raised though the body has ended well", "[task_group]") {
  in_tasks([](EventLoop&) {
    bool sibling_cancelled = false;
    TASK_CHECK(failure_of([&] {
                 task_group([&](TaskGroup& group) {
                   group.create_task(crash_soon);
                   group.create_task([&] {
                     try {
                       sleep(1h);
                     } catch (const CancelledError&) {
                       sibling_cancelled = true;
                       throw;
                     }
                   });
                   return 1;
                 });
               }) == "[1/0]");
    TASK_CHECK(sibling_cancelled);
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_cancellation
// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_07
// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_22
TEST_CASE("Cancelling the parent cancels every child and throws CancelledError", "[task_group]") {
  in_tasks([](EventLoop&) {
    for (const bool in_body : {false, true}) {
      Task<> one;
      Task<> two;
      const std::string failure = failure_when_cancelled(1s, [&] {
        task_group([&](TaskGroup& group) {
          one = group.create_task([] { sleep(1h); });
          two = group.create_task([] { sleep(1h); });
          if (in_body) sleep(1h);
        });
      });
      TASK_CHECK(failure == "CancelledError");
      TASK_CHECK(one.cancelled());
      TASK_CHECK(two.cancelled());
    }
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_08
// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_15
// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_16
TEST_CASE(
    "C35: children that fail while they are cancelled win over CancelledError, which comes with the next "
    "wait",
    "[task_group]") {
  in_tasks([](EventLoop&) {
    std::string failure;
    int requests = 0;
    bool delivered = false;
    auto task = create_task([&] {
      failure = failure_of([&] {
        task_group([&](TaskGroup& group) {
          for (int i = 0; i < 3; ++i) {
            group.create_task([] {
              try {
                sleep(1h);
              } catch (const CancelledError&) {
                sleep(1s);
                throw ZeroDivision();
              }
            });
          }
          sleep(1h);
        });
      });
      requests = current_task().cancelling();
      delivered = throws<CancelledError>([] { yield(); });
    });
    sleep(1s);
    task.cancel();
    await(task);
    TASK_CHECK(failure == "[1/0; 1/0; 1/0]");
    TASK_CHECK(requests == 1);
    TASK_CHECK(delivered);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_09
TEST_CASE("An error of the body cancels the children and comes in a group", "[task_group]") {
  in_tasks([](EventLoop&) {
    Task<> one;
    TASK_CHECK(failure_of([&] {
                 task_group([&](TaskGroup& group) {
                   one = group.create_task([] { sleep(1h); });
                   sleep(1s);
                   throw ZeroDivision();
                 });
               }) == "[1/0]");
    TASK_CHECK(one.cancelled());
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_10
TEST_CASE("Children that have not begun when the body fails never do", "[task_group]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      int began = 0;
      TASK_CHECK(failure_of([&] {
                   task_group([&](TaskGroup& group) {
                     group.create_task([&] { ++began; });
                     group.create_task([&] { ++began; });
                     throw ZeroDivision();
                   });
                 }) == "[1/0]");
      TASK_CHECK(began == 0);
    });
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_11
// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_12
TEST_CASE("Nested groups: a cancel from outside while inner children fail gives a group in a group",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    for (const bool with_sibling : {false, true}) {
      Task<> sibling;
      const std::string failure = failure_when_cancelled(1s, [&] {
        task_group([&](TaskGroup& outer) {
          if (with_sibling) sibling = outer.create_task([] { sleep(1h); });
          task_group([&](TaskGroup& inner) {
            inner.create_task([] {
              try {
                sleep(1h);
              } catch (const CancelledError&) {
                throw ZeroDivision();
              }
            });
            sleep(1h);
          });
        });
      });
      TASK_CHECK(failure == "[[1/0]]");
      if (with_sibling) TASK_CHECK(sibling.cancelled());
    }
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_13
TEST_CASE("An outer child that fails while the inner group runs gives the outer error alone",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    Task<> inner_child;
    TASK_CHECK(failure_of([&] {
                 task_group([&](TaskGroup& outer) {
                   outer.create_task(crash_soon);
                   task_group([&](TaskGroup& inner) { inner_child = inner.create_task([] { sleep(1h); }); });
                 });
               }) == "[1/0]");
    TASK_CHECK(inner_child.cancelled());
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_14
TEST_CASE("An inner child that fails gives a group in a group", "[task_group]") {
  in_tasks([](EventLoop&) {
    Task<> outer_child;
    TASK_CHECK(failure_of([&] {
                 task_group([&](TaskGroup& outer) {
                   outer_child = outer.create_task([] { sleep(1h); });
                   task_group([&](TaskGroup& inner) { inner.create_task(crash_soon); });
                 });
               }) == "[[1/0]]");
    TASK_CHECK(outer_child.cancelled());
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_17
TEST_CASE("An empty group whose body is cancelled throws CancelledError", "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(failure_when_cancelled(1s, [] { task_group([] { sleep(1h); }); }) == "CancelledError");
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_18
TEST_CASE("A body that turns the cancellation into an error gives a group with that", "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(failure_when_cancelled(1s, [] {
                 task_group([] {
                   try {
                     sleep(1h);
                   } catch (const CancelledError&) {
                     throw ZeroDivision();
                   }
                 });
               }) == "[1/0]");
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_19
// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_20a
TEST_CASE(
    "Errors of a child and of the body that reacts to its cancellation are both in the group, the body's "
    "last",
    "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(failure_of([] {
                 task_group([](TaskGroup& group) {
                   group.create_task(crash_soon);
                   try {
                     sleep(1h);
                   } catch (const CancelledError&) {
                     throw std::out_of_range("body");
                   }
                 });
               }) == "[1/0; body]");
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_20
TEST_CASE("C42: KeyboardInterrupt of the body is thrown as it is", "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(throws<KeyboardInterrupt>([] {
      task_group([](TaskGroup& group) {
        group.create_task([] { sleep(1h); });
        throw KeyboardInterrupt();
      });
    }));
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

TEST_CASE("C42: KeyboardInterrupt of a child ends the run of the loop, and then the group", "[task_group]") {
  on_loops([](EventLoop& loop) {
    bool thrown = false;
    Task<> parent = loop.create_task([&] {
      thrown = throws<KeyboardInterrupt>(
          [] { task_group([](TaskGroup& group) { group.create_task([] { throw KeyboardInterrupt(); }); }); });
    });
    CHECK(throws<KeyboardInterrupt>([&] { loop.run_until_complete(parent); }));
    loop.run_until_complete(parent);
    CHECK(thrown);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_21a
TEST_CASE("Exceptions that are no std::exception are grouped too", "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(failure_of([] { task_group([](TaskGroup& group) { group.create_task([] { throw 5; }); }); }) ==
               "[something else]");
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_23
TEST_CASE("A group forgets children that have ended", "[task_group]") {
  in_tasks([](EventLoop&) {
    auto held = std::make_shared<int>(1);
    task_group([&](TaskGroup& group) {
      for (int i = 0; i < 10; ++i) {
        group.create_task([held] { return held; });
        sleep(1ms);
      }
      TASK_CHECK(held.use_count() == 1);
    });
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_25
TEST_CASE("Children that create children end when the group aborts", "[task_group]") {
  in_tasks([](EventLoop&) {
    std::atomic<int> alive{0};
    std::atomic<int> refused{0};
    struct Replicate {
      TaskGroup& group;
      std::atomic<int>& alive;
      std::atomic<int>& refused;
      void operator()() const {
        struct Count {
          std::atomic<int>& alive;
          ~Count() { --alive; }
        } const count{(++alive, alive)};
        for (;;) {
          sleep(10ms);
          try {
            if (alive < 100) group.create_task(*this);
          } catch (const RuntimeError&) {
            ++refused;
          }
        }
      }
    };
    TASK_CHECK(failure_of([&] {
                 task_group([&](TaskGroup& group) {
                   group.create_task(Replicate{group, alive, refused});
                   crash_soon();
                 });
               }) == "[1/0]");
    TASK_CHECK(alive == 0);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_task_name
// asyncio: test_taskgroups BaseTestTaskGroup.test_name
TEST_CASE("A child's options are those of create_task", "[task_group]") {
  in_tasks([](EventLoop&) {
    task_group([](TaskGroup& group) {
      std::string seen;
      auto child = group.create_task(TaskOptions{.name = "yolo"}, [&] {
        sleep(1ms);
        seen = current_task().get_name();
      });
      TASK_CHECK(child.get_name() == "yolo");
      await(child);
      TASK_CHECK(seen == "yolo");
      const auto create = [&] { group.create_task(TaskOptions{.name = {}, .stack_size = 1}, [] {}); };
      TASK_CHECK(throws<std::invalid_argument>(create));
    });
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_no_create_task_after_failure
// asyncio: test_taskgroups BaseTestTaskGroup.test_coro_closed_when_tg_closed
TEST_CASE("C40: create_task during the abort throws RuntimeError and destroys the callable", "[task_group]") {
  in_tasks([](EventLoop&) {
    auto held = std::make_shared<int>(1);
    bool refused = false;
    TASK_CHECK(failure_of([&] {
                 task_group([&](TaskGroup& group) {
                   group.create_task(crash_soon);
                   try {
                     sleep(1h);
                   } catch (const CancelledError&) {
                     refused = throws<RuntimeError>([&] { group.create_task([held] {}); });
                   }
                 });
               }) == "[1/0]");
    TASK_CHECK(refused);
    TASK_CHECK(held.use_count() == 1);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_context_manager_exit_raises
TEST_CASE("Errors of a scope that is left because of the abort are collected", "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(failure_of([] {
                 task_group([](TaskGroup& group) {
                   group.create_task([] {
                     try {
                       sleep(1h);
                     } catch (const CancelledError&) {
                       throw std::out_of_range("exit of the inner scope");
                     }
                   });
                   sleep(1ms);
                   throw ZeroDivision();
                 });
               }) == "[exit of the inner scope; 1/0]");
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_without_parent_task
TEST_CASE("task_group outside a task throws RuntimeError", "[task_group]") {
  CHECK(throws<RuntimeError>([] { task_group([] {}); }));
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_nested_groups_both_cancelled
TEST_CASE("C37: inner and outer group abort in the same pass", "[task_group]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      int between = -1;
      const std::string failure = failure_of([&] {
        task_group([&](TaskGroup& outer) {
          try {
            task_group([&](TaskGroup& inner) {
              outer.create_task([] { throw std::out_of_range("outer"); });
              inner.create_task([] { throw std::out_of_range("inner"); });
            });
          } catch (const ExceptionGroup& group) {
            TASK_CHECK(shape_of(std::make_exception_ptr(group)) == "[inner]");
            between = current_task().cancelling();
          }
        });
      });
      TASK_CHECK(failure == "[outer]");
      TASK_CHECK(between == 1);
      TASK_CHECK(current_task().cancelling() == 0);
      yield();
    });
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_error_and_cancel
TEST_CASE("C36: a child's error and a cancel from outside in one pass, in either order", "[task_group]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      for (const bool error_first : {false, true}) {
        Task<> parent;
        std::string failure;
        int requests = -1;
        bool delivered = false;
        parent = create_task([&] {
          failure = failure_of([&] {
            task_group([&](TaskGroup& group) {
              group.create_task([&] {
                sleep(1s);
                if (!error_first) parent.cancel();
                throw ZeroDivision();
              });
              sleep(1h);
            });
          });
          requests = current_task().cancelling();
          delivered = throws<CancelledError>([] { sleep(1s); });
        });
        if (error_first) {
          auto canceller = create_task([&] {
            sleep(1s);
            yield();
            parent.cancel();  // in the pass in which the group hears of the error
          });
          await(canceller);
        }
        await(parent);
        TASK_CHECK(failure == "[1/0]");
        TASK_CHECK(requests == 1);
        TASK_CHECK(delivered);
      }
    });
  });
}

TEST_CASE("C38: a body may swallow the abort's CancelledError and wait; the group throws at its end",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    bool waited = false;
    TASK_CHECK(failure_of([&] {
                 task_group([&](TaskGroup& group) {
                   group.create_task(crash_soon);
                   try {
                     sleep(1h);
                   } catch (const CancelledError&) {  // NOLINT: swallowed on purpose
                   }
                   sleep(1s);
                   waited = true;
                 });
               }) == "[1/0]");
    TASK_CHECK(waited);
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_taskgroup
TEST_CASE("A timeout around a group whose children fail because of it: the group passes", "[task_group]") {
  in_tasks([](EventLoop&) {
    const auto fails = [] {
      try {
        sleep(1h);
      } catch (const CancelledError&) {
        throw ZeroDivision();
      }
    };
    TASK_CHECK(failure_of([&] {
                 timeout(1s, [&] {
                   task_group([&](TaskGroup& group) {
                     group.create_task(fails);
                     group.create_task(fails);
                   });
                 });
               }) == "[1/0; 1/0]");
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

TEST_CASE("A timeout around a group that ends cleanly throws TimeoutError", "[task_group]") {
  in_tasks([](EventLoop&) {
    Task<> child;
    TASK_CHECK(throws<TimeoutError>([&] {
      timeout(1s,
              [&] { task_group([&](TaskGroup& group) { child = group.create_task([] { sleep(1h); }); }); });
    }));
    TASK_CHECK(child.cancelled());
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// --- cancel() of 3.15 --------------------------------------------------------------------------------------

TEST_CASE("C41: cancel() from the body: the body goes on to its next wait, the group ends quietly",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    Task<> child;
    bool went_on = false;
    bool waited = false;
    task_group([&](TaskGroup& group) {
      child = group.create_task([] { sleep(1h); });
      sleep(1ms);
      group.cancel();
      group.cancel();
      went_on = true;
      TASK_CHECK(throws<RuntimeError>([&] { group.create_task([] {}); }));
      sleep(1h);
      waited = true;
    });
    TASK_CHECK(went_on);
    TASK_CHECK(!waited);
    TASK_CHECK(child.cancelled());
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

TEST_CASE("C41: cancel() from a child cancels that child, its siblings and the body", "[task_group]") {
  in_tasks([](EventLoop&) {
    Task<> one;
    Task<> two;
    bool body_waited = false;
    task_group([&](TaskGroup& group) {
      one = group.create_task([&] {
        sleep(1s);
        group.cancel();
        sleep(1h);
      });
      two = group.create_task([] { sleep(1h); });
      sleep(1h);
      body_waited = true;
    });
    TASK_CHECK(one.cancelled());
    TASK_CHECK(two.cancelled());
    TASK_CHECK(!body_waited);
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

TEST_CASE("C41: cancel() while the group waits for its children ends it quietly, and keeps the body's result",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    const int result = task_group([&](TaskGroup& group) {
      group.create_task([&] { sleep(1h); });
      group.create_task([&] {
        sleep(1s);
        group.cancel();
      });
      return 4;
    });
    TASK_CHECK(result == 4);
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

TEST_CASE("C41: a body without a wait ends normally after cancel() and leaves no request", "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(task_group([](TaskGroup& group) {
                 group.cancel();
                 return 3;
               }) == 3);
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

TEST_CASE("A body that owes a value and was interrupted by cancel() throws CancelledError", "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(failure_of([] {
                 task_group([](TaskGroup& group) {
                   group.cancel();
                   sleep(1h);
                   return 3;
                 });
               }) == "CancelledError");
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

TEST_CASE("C41: cancel() and then an error of the body give a group with that error", "[task_group]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(failure_of([] {
                 task_group([](TaskGroup& group) {
                   group.cancel();
                   throw ZeroDivision();
                 });
               }) == "[1/0]");
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

TEST_CASE("C41: cancel() together with a cancel from outside throws CancelledError, and one request is left",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    for (const bool while_joining : {false, true}) {
      int requests = -1;
      auto task = create_task([&] {
        const bool cancelled = throws<CancelledError>([&] {
          task_group([&](TaskGroup& group) {
            group.create_task([] {
              try {
                sleep(1h);
              } catch (const CancelledError&) {
                sleep(2s);
                throw;
              }
            });
            sleep(1s);
            group.cancel();
            if (!while_joining) current_task().cancel();
            sleep(1h);
          });
        });
        requests = cancelled ? current_task().cancelling() : -2;
      });
      sleep(2s);
      if (while_joining) task.cancel();
      await(task);
      TASK_CHECK(requests == 1);
    }
  });
}

TEST_CASE("A cancel from outside that the body swallowed is not thrown when the group is cancelled",
          "[task_group]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] {
      task_group([](TaskGroup& group) {
        current_task().cancel();
        TASK_CHECK(throws<CancelledError>([] { yield(); }));
        group.create_task([&] {
          sleep(1s);
          group.cancel();
        });
      });
      return current_task().cancelling();
    });
    TASK_CHECK(await(task) == 1);
  });
}

// --- ExceptionGroup ----------------------------------------------------------------------------------------

TEST_CASE("ExceptionGroup names its members, and says what is among them", "[exception_group]") {
  const auto error = [](auto value) { return std::make_exception_ptr(value); };
  const ExceptionGroup inner("inner", {error(std::out_of_range("b")), error(ZeroDivision())});
  const ExceptionGroup group("outer", {error(std::invalid_argument("a")), error(inner)});
  CHECK(std::string(group.what()) == "outer (2): a; inner (2): b; 1/0");
  CHECK(group.message() == "outer");
  CHECK(group.exceptions().size() == 2);
  CHECK(group.contains<std::invalid_argument>());
  CHECK(group.contains<std::logic_error>());
  CHECK(group.contains<ZeroDivision>());
  CHECK(!group.contains<std::bad_alloc>());
  CHECK(!ExceptionGroup("logic only", {error(std::out_of_range("b"))}).contains<std::runtime_error>());

  const auto [zero, rest] = group.split<ZeroDivision>();
  REQUIRE(zero);
  REQUIRE(rest);
  CHECK(shape_of(error(*zero)) == "[[1/0]]");
  CHECK(shape_of(error(*rest)) == "[a; [b]]");
  CHECK(rest->message() == "outer");
  CHECK(!group.split<std::exception>().second);
  CHECK(!group.split<std::bad_alloc>().first);
  CHECK(throws<std::invalid_argument>([] { ExceptionGroup("empty", {}); }));
  CHECK(throws<std::invalid_argument>([] { ExceptionGroup("null", {nullptr}); }));
}

// --- the end of the loop -----------------------------------------------------------------------------------

TEST_CASE("close() unwinds tasks in every composition, and nothing is left", "[task_group]") {
  on_loops([](EventLoop& loop) {
    std::atomic<int> ended{0};
    struct Count {
      std::atomic<int>& ended;
      ~Count() { ++ended; }
    };
    Future<int> never_done = loop.create_future<int>();
    const auto hang = [&] {
      const Count count{ended};
      sleep(1h);
      return 1;
    };
    const auto start = [&](auto body) {
      return loop.create_task([&ended, body] {
        const Count count{ended};
        body();
      });
    };
    std::vector<Task<>> tasks;
    tasks.push_back(start([=] { task_group([=](TaskGroup& group) { group.create_task(hang); }); }));
    tasks.push_back(start([=] { task_group([=] { timeout(2h, hang); }); }));
    tasks.push_back(start([=] { gather(hang, never_done); }));
    tasks.push_back(start([=] { static_cast<void>(gather(return_exceptions, hang, hang)); }));
    tasks.push_back(start([=] { wait(std::vector<Task<int>>{create_task(hang)}, {.timeout = 2h}); }));
    tasks.push_back(start([=] { shield(hang); }));
    tasks.push_back(start([=] { wait_for(create_task(hang), 2h); }));
    tasks.push_back(start([=] {
      for (const Task<int>& task : as_completed(std::vector<Task<int>>{create_task(hang)}, 2h)) await(task);
    }));
    loop.run_until_complete([] { sleep(1s); });
    loop.close();
    for (const Task<>& task : tasks) CHECK(task.cancelled());
    CHECK(ended == 8 + 9);
  });
}

TEST_CASE("A group that is run by run() is joined before the loop ends", "[task_group]") {
  bool ended = false;
  const int result = run(
      [&] {
        return task_group([&](TaskGroup& group) {
          group.create_task([&] {
            sleep(1s);
            ended = true;
          });
          return 3;
        });
      },
      test_config(2));
  CHECK(result == 3);
  CHECK(ended);
}
