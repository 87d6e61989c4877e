// Futures of values with a move constructor that waits, uses the same future, or throws.
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Calls `on_move` when it is moved, as often as its countdown says.
struct Moving {
  explicit Moving(std::function<void()> its_on_move, int its_skips = 1)
      : on_move(std::move(its_on_move)), skips(its_skips) {}
  Moving(Moving&& other) noexcept(false) : on_move(other.on_move), skips(other.skips - 1), text(other.text) {
    if (skips == 0 && on_move) on_move();
  }
  std::function<void()> on_move;
  int skips;  // moves before the one into the future: of the argument
  std::string text = "the value";
};

}  // namespace

TEST_CASE("A value whose move waits holds up nobody but who gives it", "[futures][claimed]") {
  in_tasks([](EventLoop& loop) {
    Future<Moving> future = loop.create_future<Moving>();
    Event moves;
    Event go;
    auto producer = create_task([&, future]() mutable {
      future.set_result(Moving(
          [&] {
            moves.set();
            go.wait();
          },
          2));
    });
    auto early = create_task([&] { return await(future).text; });
    moves.wait();
    auto late = create_task([&] { return await(future).text; });
    int calls = 0;
    future.add_done_callback([&](const AnyFuture&) { ++calls; });
    const auto gone = future.add_done_callback([&](const AnyFuture&) { calls += 100; });
    for (int i = 0; i < 5; ++i) yield();
    // Pending still; whoever else wants to complete it is too late.
    TASK_CHECK(!future.done());
    TASK_CHECK(!future.cancel());
    TASK_CHECK(!future.try_set_exception(std::make_exception_ptr(std::runtime_error("too late"))));
    TASK_CHECK(throws<InvalidStateError>([&] { future.set_result(Moving(nullptr)); }));
    TASK_CHECK(throws<InvalidStateError>([&] { static_cast<void>(future.result()); }));
    TASK_CHECK(future.remove_done_callback(gone) == 1);
    go.set();
    await(producer);
    TASK_CHECK(await(early) == "the value");
    TASK_CHECK(await(late) == "the value");
    TASK_CHECK(eventually_in_task([&] { return calls == 1; }));
  });
}

TEST_CASE("A value whose move takes a contended lock arrives", "[futures][claimed]") {
  in_tasks([](EventLoop& loop) {
    Lock lock;
    std::vector<Future<Moving>> futures;
    std::vector<Task<>> producers;
    for (int i = 0; i < 8; ++i) {
      futures.push_back(loop.create_future<Moving>());
      producers.push_back(create_task([&lock, future = futures.back()]() mutable {
        future.set_result(Moving(
            [&lock] {
              const std::lock_guard guard(lock);
              yield();
            },
            2));
      }));
    }
    for (const auto& future : futures) TASK_CHECK(await(future).text == "the value");
    for (const auto& producer : producers) await(producer);
  });
}

TEST_CASE("A value whose move asks the future itself finds it pending", "[futures][claimed]") {
  in_tasks([](EventLoop& loop) {
    Future<Moving> future = loop.create_future<Moving>();
    int asked = 0;
    future.set_result(Moving(
        [&] {
          ++asked;
          TASK_CHECK(!future.done());
          TASK_CHECK(!future.cancel());
        },
        2));
    TASK_CHECK(asked == 1);
    TASK_CHECK(await(future).text == "the value");
  });
}

TEST_CASE("A value whose move throws leaves the future pending, for another one", "[futures][claimed]") {
  in_tasks([](EventLoop& loop) {
    Future<Moving> future = loop.create_future<Moving>();
    auto reader = create_task([&] { return await(future).text; });
    yield();
    TASK_CHECK(throws<std::runtime_error>(
        [&] { future.set_result(Moving([] { throw std::runtime_error("cannot be moved"); }, 2)); }));
    TASK_CHECK(!future.done());
    future.set_result(Moving(nullptr));
    TASK_CHECK(await(reader) == "the value");
  });
}

TEST_CASE("A cancel that comes while a value is moved in is too late; if the move throws it is not lost",
          "[futures][claimed][cancel]") {
  in_tasks([](EventLoop& loop) {
    for (const bool fails : {false, true}) {
      Future<Moving> future = loop.create_future<Moving>();
      Event moves;
      Event go;
      auto producer = create_task([&, future]() mutable {
        try {
          future.set_result(Moving(
              [&, fails] {
                moves.set();
                go.wait();
                if (fails) throw std::runtime_error("cannot be moved");
              },
              2));
        } catch (const std::runtime_error&) {
        }
      });
      auto reader = create_task([&] {
        static_cast<void>(await(future));
        return true;
      });
      moves.wait();
      TASK_CHECK(eventually_in_task([&] { return inspect(reader).state == TaskState::kWaiting; }));
      reader.cancel();
      go.set();
      reader.wait();
      TASK_CHECK(reader.cancelled());
      TASK_CHECK(future.cancelled() == fails);
      producer.wait();
    }
  });
}
