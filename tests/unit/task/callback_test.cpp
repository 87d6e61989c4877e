// What: call_soon and call_later from inside: who holds the callable, what cancel takes away, what the end
// drops.
#include "task/callback.hpp"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "loop/loop_impl.hpp"
#include "support/catch.hpp"
#include "support/loops.hpp"

using namespace fibrio::test;  // NOLINT
using fibrio::EventLoop;
using fibrio::Handle;
using fibrio::detail::CallbackState;
using fibrio::detail::LoopAccess;

TEST_CASE("A callback holds what it captured until it ran, not longer", "[callback]") {
  on_one_worker([](EventLoop& loop) {
    auto object = std::make_shared<int>(1);
    const std::weak_ptr<int> watched = object;
    const Handle handle = loop.call_soon([object = std::move(object), &loop] { loop.stop(); });
    CHECK_FALSE(watched.expired());
    loop.run_forever();
    CHECK(watched.expired());
    CHECK_FALSE(handle.cancelled());
  });
}

TEST_CASE("A cancelled callback drops what it captured at once, and its timer leaves the wheel",
          "[callback]") {
  on_loops([](EventLoop& loop) {
    auto& worker = LoopAccess::impl(loop).scheduler.worker(0);
    auto object = std::make_shared<int>(1);
    const std::weak_ptr<int> watched = object;
    Handle soon = loop.call_soon([object] { FAIL_CHECK("it was cancelled"); });
    fibrio::TimerHandle later =
        loop.call_later(1h, [object = std::move(object)] { FAIL_CHECK("it was cancelled"); });
    CHECK(worker.timers.size() == 1);
    CHECK(soon.cancel());
    CHECK(later.cancel());
    CHECK(watched.expired());
    CHECK(worker.timers.size() == 0);
    CHECK_FALSE(soon.cancel());
    CHECK_FALSE(later.cancel());
    CHECK(later.cancelled());
    loop.run_until_complete([] { fibrio::sleep(2h); });
  });
}

TEST_CASE("A callback that is cancelled by one that is due with it does not run", "[callback]") {
  on_one_worker([](EventLoop& loop) {
    bool ran = false;
    Handle second;
    const auto when = loop.time() + 1ms;
    loop.call_at(when, [&] { CHECK(second.cancel()); });
    second = loop.call_at(when, [&] { ran = true; });
    loop.run_until_complete([] { fibrio::sleep(1s); });
    CHECK_FALSE(ran);
  });
}

TEST_CASE("A callback that cancels itself learns that it is too late", "[callback]") {
  on_loops([](EventLoop& loop) {
    Handle self;
    std::atomic<int> answers{0};
    loop.run_until_complete([&] {
      self = loop.call_later(1ms, [&] { answers.fetch_add(self.cancel() ? 10 : 1); });
      fibrio::sleep(1s);
    });
    CHECK(answers.load() == 1);
    CHECK_FALSE(self.cancelled());
  });
}

TEST_CASE("Each callback either runs or is cancelled, when threads race for it", "[callback]") {
  for (const std::size_t workers : {1, 2, 4}) {
    EventLoop loop(test_config(workers, false));
    constexpr int kCount = 2000 / kSlowdown;
    std::atomic<int> ran{0};
    std::atomic<int> cancelled{0};
    std::thread outside([&] {
      std::vector<Handle> handles;
      for (int i = 0; i < kCount; ++i) {
        handles.push_back(
            i % 2 == 0 ? loop.call_soon([&] { ran.fetch_add(1); })
                       : loop.call_later(std::chrono::microseconds(i % 300), [&] { ran.fetch_add(1); }));
        if (i % 3 == 0 && handles[handles.size() / 2].cancel()) cancelled.fetch_add(1);
      }
      for (Handle& handle : handles) {
        if (handle.cancel()) cancelled.fetch_add(1);
      }
      loop.stop();
    });
    loop.run_forever();
    outside.join();
    loop.close();
    CHECK(ran.load() + cancelled.load() == kCount);
  }
}

TEST_CASE("The end of a loop drops callbacks unrun", "[callback]") {
  for (const std::size_t workers : {1, 2, 4}) {
    auto object = std::make_shared<int>(1);
    const std::weak_ptr<int> watched = object;
    {
      EventLoop loop(test_config(workers));
      loop.call_soon([object] { FAIL_CHECK("the loop never ran"); });
      loop.call_later(1ms, [object] { FAIL_CHECK("the loop never ran"); });
      loop.call_later(24h * 365, [object = std::move(object)] { FAIL_CHECK("the loop never ran"); });
      CHECK(watched.use_count() == 3);
    }
    CHECK(watched.expired());
  }
}

TEST_CASE("A handle may be cancelled after its loop is gone", "[callback]") {
  Handle soon;
  fibrio::TimerHandle later;
  {
    EventLoop loop(test_config(1));
    soon = loop.call_soon([] {});
    later = loop.call_later(1h, [] {});
  }
  // Another one may live at its address.
  EventLoop heir(test_config(1));
  CHECK_FALSE(soon.cancel());
  heir.run_until_complete([&] { CHECK_FALSE(later.cancel()); });
  CHECK(later.cancelled());
}

TEST_CASE("A callback that throws is reported, and the others run", "[callback]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    std::atomic<int> ran{0};
    loop.call_soon([] { throw std::runtime_error("soon"); });
    loop.call_later(1ms, [] { throw std::runtime_error("later"); });
    loop.call_soon([&] { ran.fetch_add(1); });
    loop.call_later(2ms, [&] { ran.fetch_add(1); });
    loop.run_until_complete([] { fibrio::sleep(1s); });
    CHECK(reports.size() == 2);
    CHECK(ran.load() == 2);
    loop.set_exception_handler(nullptr);
  });
}
