// The passes that compositions take with one worker, and on a strand: asyncio's.
#include <string>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// The number of passes from set_result of a future until `wait_for_it(future)` has returned in a task.
template <class Wait>
int passes_of(Wait wait_for_it) {
  int result = 0;
  in_order([&](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    bool returned = false;
    auto waiter = create_task([&] {
      wait_for_it(future);
      returned = true;
    });
    for (int i = 0; i < 10; ++i) yield();
    future.set_result(1);
    int passes = 0;
    while (!returned) {
      yield();
      ++passes;
    }
    await(waiter);
    TASK_CHECK(result == 0 || result == passes);
    result = passes;
  });
  return result;
}

auto task_of(Future<int> future) {
  return create_task([future] { return await(future); });
}

}  // namespace

TEST_CASE("C52: a composition returns as many passes after the innermost future as in asyncio", "[order]") {
  CHECK(passes_of([](Future<int> f) { await(f); }) == 1);
  CHECK(passes_of([](Future<int> f) { await(task_of(f)); }) == 2);
  CHECK(passes_of([](Future<int> f) { gather(f); }) == 2);
  CHECK(passes_of([](Future<int> f) { gather(task_of(f)); }) == 3);
  CHECK(passes_of([](Future<int> f) { gather(return_exceptions, task_of(f)); }) == 3);
  // One more than for a future: the task of it.
  CHECK(passes_of([](Future<int> f) { wait(std::vector<Task<int>>{task_of(f)}); }) == 3);
  CHECK(passes_of([](Future<int> f) { shield(f); }) == 2);
  CHECK(passes_of([](Future<int> f) { wait_for(f, 1h); }) == 1);
  CHECK(passes_of([](Future<int> f) { wait_for([&] { await(f); }, 1h); }) == 1);
  CHECK(passes_of([](Future<int> f) { static_cast<void>(as_completed(std::vector{task_of(f)}).next()); }) ==
        3);
  CHECK(passes_of([](Future<int> f) {
          task_group([&](TaskGroup& group) { group.create_task([&] { await(f); }); });
        }) == 3);
  CHECK(passes_of([](Future<int> f) {
          task_group([&](TaskGroup& outer) {
            outer.create_task(
                [&] { task_group([&](TaskGroup& inner) { inner.create_task([&] { await(f); }); }); });
          });
        }) == 5);
}

TEST_CASE("C14: wait suspends for two passes even if everything is done", "[order]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      auto done = create_task([] { return 1; });
      await(done);
      Log log;
      loop.call_soon([&] {
        log.add("1");
        loop.call_soon([&] {
          log.add("2");
          loop.call_soon([&] { log.add("3"); });
        });
      });
      wait(std::vector<Task<int>>{done});
      log.add("returned");
      yield();
      TASK_CHECK(log.text() == "1 2 returned 3");
    });
  });
}

TEST_CASE("Tasks of gather and of a group begin in the order of their creation", "[order]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Log log;
      const auto says = [&](const char* text) { return [&log, text] { log.add(text); }; };
      gather(says("a"), says("b"), says("c"));
      task_group([&](TaskGroup& group) {
        group.create_task(says("d"));
        group.create_task(says("e"));
        log.add("body");
      });
      TASK_CHECK(log.text() == "a b c body d e");
    });
  });
}

TEST_CASE("An abort cancels the children in the order of their creation", "[order]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Log log;
      const auto child = [&](const char* text) {
        return [&log, text] {
          try {
            sleep(1h);
          } catch (const CancelledError&) {
            log.add(text);
            throw;
          }
        };
      };
      TASK_CHECK(throws<ExceptionGroup>([&] {
        task_group([&](TaskGroup& group) {
          group.create_task(child("a"));
          group.create_task(child("b"));
          group.create_task([] {
            sleep(1s);
            throw std::runtime_error("failed");
          });
          group.create_task(child("c"));
          try {
            sleep(1h);
          } catch (const CancelledError&) {
            log.add("body");
            throw;
          }
        });
      }));
      TASK_CHECK(log.text() == "a b c body");
    });
  });
}

TEST_CASE("A task that awaits itself learns of it in the next pass", "[order]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Log log;
      Task<> self;
      self = create_task([&] {
        loop.call_soon([&] { log.add("next pass"); });
        TASK_CHECK(throws<RuntimeError>([&] { await(self); }));
        log.add("thrown");
      });
      await(self);
      TASK_CHECK(log.text() == "next pass thrown");
    });
  });
}
