// call_once, Lazy: what is made once, by whoever needs it first.
#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include <fibrio/once.hpp>

#include "support/net_loops.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using namespace std::chrono_literals;

namespace {

void on_three_loops(const std::function<void()>& body) {
  for (const std::size_t workers : {1, 2, 4}) on_loop({workers, false}, body);
}

struct Pinned {  // neither copied nor moved
  explicit Pinned(int number) : value(number) {}
  Pinned(const Pinned&) = delete;
  int value;
};

}  // namespace

TEST_CASE("call_once calls one function once, and the others wait for it as tasks", "[once]") {
  on_three_loops([] {
    OnceFlag flag;
    int calls = 0;
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 20; ++i) {
      tasks.push_back(create_task([&] {
        call_once(
            flag,
            [&](int step) {
              sleep(5ms);
              calls += step;
            },
            1);
        return calls;
      }));
    }
    std::thread thread([&] { call_once(flag, [&] { ++calls; }); });
    for (auto& task : tasks) expect_equal(await(task), 1, "calls");
    to_thread([&] { thread.join(); });
    call_once(flag, [] { throw std::runtime_error("called again"); });
  });
}

TEST_CASE("A call_once that throws or is cancelled leaves it to the next", "[once]") {
  on_three_loops([] {
    OnceFlag flag;
    std::atomic<int> calls{0};
    const auto call = [&](auto&& body) {
      return create_task([&flag, &calls, body] {
        call_once(flag, [&] {
          ++calls;
          body();
        });
      });
    };
    Future<> go = get_running_loop().create_future<void>();
    auto fails = call([&go] {
      await(go);
      throw std::runtime_error("fails");
    });
    wait_until_waits(fails);
    auto waits = call([] { await(get_running_loop().create_future<void>()); });
    wait_until_waits(waits, WaitReason::kLock);
    auto given_up = call([] {});
    wait_until_waits(given_up, WaitReason::kLock);
    auto makes = call([] { yield(); });
    wait_until_waits(makes, WaitReason::kLock);
    go.set_result();
    wait_until([&] { return calls == 2; }, "the second call");
    wait_until_waits(given_up, WaitReason::kLock);
    given_up.cancel();
    given_up.wait();
    waits.cancel();
    makes.wait();
    expect_throws<std::runtime_error>([&] { await(fails); }, "the first one");
    expect(given_up.cancelled() && waits.cancelled() && !makes.cancelled(), "who was cancelled");
    expect_equal(calls.load(), 3, "calls");
    call_once(flag, [&] { ++calls; });
    expect_equal(calls.load(), 3, "calls in the end");
  });
}

TEST_CASE("call_once inside its own function is a RuntimeError, and so is one that waits in a callback",
          "[once]") {
  on_three_loops([] {
    OnceFlag flag;
    call_once(flag, [&] {
      yield();
      expect_throws<RuntimeError>([&] { call_once(flag, [] {}); }, "recursion");
      Future<bool> refused = get_running_loop().create_future<bool>();
      get_running_loop().call_soon([&flag, refused]() mutable {
        try {
          call_once(flag, [] {});
          refused.set_result(false);
        } catch (const RuntimeError&) {
          refused.set_result(true);
        }
      });
      expect(await(refused), "a callback does not wait");
    });
  });
}

TEST_CASE("Lazy makes its value when it is asked for first", "[once]") {
  on_three_loops([] {
    int calls = 0;
    Lazy<Pinned> lazy([&] {
      sleep(2ms);
      if (++calls == 1) throw std::runtime_error("not yet");
      return Pinned(42);
    });
    expect_throws<std::runtime_error>([&] { lazy.get(); }, "the first try");
    std::vector<Task<Pinned*>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(create_task([&] { return &lazy.get(); }));
    for (auto& task : tasks) expect(await(task) == &lazy.get(), "one object");
    expect_equal(lazy.get().value, 42, "its value");
    expect_equal(calls, 2, "calls");
  });
}
