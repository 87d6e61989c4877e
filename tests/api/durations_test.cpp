// Durations as users give them: of any unit, also longer than nanoseconds can count.
#include <fibrio/fibrio.hpp>
#include <fibrio/testing.hpp>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "support/net_loops.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using namespace std::chrono_literals;

namespace {

template <class Unit>
void check_ends() {
  CHECK(AnyDuration(Unit::max()).count() == Duration::max().count());
  CHECK(AnyDuration(Unit::min()).count() <= -Duration::max().count());
  CHECK(AnyDuration(Unit(1)).count() == Duration(Unit(1)).count());
  CHECK(AnyDuration(Unit(-1)).count() == Duration(Unit(-1)).count());
}

struct CancelAtEnd {
  Task<> task;
  ~CancelAtEnd() { Task<>(task).cancel(); }
};

using Hours = std::chrono::hours;
using Wait = std::function<void(Hours)>;  // takes the unit as it is: nothing is converted before the call

// Each waits for as long as it is told, or gives the time up.
std::vector<Wait> all_waits() {
  const auto now = [] { return get_running_loop().time(); };
  const auto wait_for_timer = [](TimerHandle, Future<> fired) { await(fired); };
  return {
      [](Hours time) { sleep(time); },
      [=](Hours time) { sleep_until(now() + time); },
      [](Hours time) { timeout(time, [] { await(get_running_loop().create_future<void>()); }); },
      [=](Hours time) { timeout_at(now() + time, [] { await(get_running_loop().create_future<void>()); }); },
      [](Hours time) { wait_for(get_running_loop().create_future<void>(), time); },
      [](Hours time) { wait_for([] { await(get_running_loop().create_future<void>()); }, time); },
      [](Hours time) {
        const CancelAtEnd sleeper{create_task([] { await(get_running_loop().create_future<void>()); })};
        wait(std::vector{sleeper.task}, {.timeout = time});
      },
      [](Hours time) {
        const CancelAtEnd sleeper{create_task([] { await(get_running_loop().create_future<void>()); })};
        static_cast<void>(as_completed(std::vector{sleeper.task}, time).begin());
      },
      [=](Hours time) {
        auto fired = get_running_loop().create_future<void>();
        wait_for_timer(get_running_loop().call_later(time, [=]() mutable { fired.try_set_result(); }), fired);
      },
      [=](Hours time) {
        auto fired = get_running_loop().create_future<void>();
        wait_for_timer(get_running_loop().call_at(now() + time, [=]() mutable { fired.try_set_result(); }),
                       fired);
      },
      [=](Hours time) {
        timeout(never, [=](Timeout& limit) {
          limit.reschedule(now() + time);
          await(get_running_loop().create_future<void>());
        });
      },
  };
}

std::vector<Task<>> start_all(Hours time) {
  std::vector<Task<>> tasks;
  for (const Wait& wait : all_waits()) {
    tasks.push_back(create_task([wait, time] {
      try {
        wait(time);
      } catch (const TimeoutError&) {
      }
    }));
  }
  return tasks;
}

}  // namespace

TEST_CASE("A duration that nanoseconds cannot hold is the longest one there is", "[durations]") {
  check_ends<std::chrono::nanoseconds>();
  check_ends<std::chrono::microseconds>();
  check_ends<std::chrono::milliseconds>();
  check_ends<std::chrono::seconds>();
  check_ends<std::chrono::minutes>();
  check_ends<std::chrono::hours>();
  check_ends<std::chrono::years>();
  CHECK(AnyDuration(std::chrono::duration<unsigned char>(255)) == 255s);
  CHECK(AnyDuration(std::chrono::duration<unsigned long>::max()) == Duration::max());
  CHECK(AnyDuration(std::chrono::duration<std::int64_t, std::exa>(1)) == Duration::max());
  CHECK(AnyDuration(std::chrono::duration<std::int64_t, std::pico>(2500)) == 2ns);
  CHECK(AnyDuration(std::chrono::hours(24L * 365 * 1000)) == Duration::max());
}

TEST_CASE("A duration of floating point is rounded to nanoseconds, and infinity is the longest one",
          "[durations]") {
  using Seconds = std::chrono::duration<double>;
  CHECK(AnyDuration(Seconds(0.3)) == 300ms);
  CHECK(AnyDuration(Seconds(-0.3)) == -300ms);
  CHECK(AnyDuration(std::chrono::duration<float, std::milli>(1.5F)) == 1500us);
  CHECK(AnyDuration(Seconds(1e300)) == Duration::max());
  CHECK(AnyDuration(Seconds(-1e300)) == Duration::min());
  CHECK(AnyDuration(Seconds(std::numeric_limits<double>::infinity())) == Duration::max());
  CHECK(AnyDuration(Seconds::max()) == Duration::max());
  CHECK_THROWS_AS(AnyDuration(Seconds(std::nan(""))), std::invalid_argument);
}

TEST_CASE("Sums with points in time end at the ends of time", "[durations]") {
  const TimePoint point(5s);
  CHECK(point + Hours::max() == TimePoint::max());
  CHECK(Hours::max() + point == TimePoint::max());
  CHECK(TimePoint(-5s) + Hours::min() == TimePoint::min());
  CHECK(TimePoint(-5s) - Hours::max() == TimePoint::min());
  CHECK(point - Hours::min() == TimePoint::max());
  CHECK(TimePoint::max() - TimePoint::min() == Duration::max());
  CHECK(TimePoint::min() - point == Duration::min());
  CHECK(point + 1s == TimePoint(6s));
  CHECK(point + std::chrono::duration<double>(0.5) == TimePoint(5500ms));
  CHECK(point - TimePoint(2s) == 3s);
}

TEST_CASE("Hours::max() means for ever wherever a duration may stand", "[durations]") {
  for (const std::size_t workers : {1, 2, 4}) {
    on_loop({workers, false, true}, [] {
      std::vector<Task<>> tasks = start_all(Hours::max());
      sleep(std::chrono::hours(24L * 365 * 100));
      for (std::size_t i = 0; i < tasks.size(); ++i)
        expect(!tasks[i].done(), "number " + std::to_string(i) + " waits");
      for (Task<>& task : tasks) task.cancel();
      for (Task<>& task : tasks) task.wait();
    });
  }
}

TEST_CASE("Hours::min() is over at once wherever a duration may stand", "[durations]") {
  for (const std::size_t workers : {1, 2, 4}) {
    on_loop({workers, false, true}, [] {
      const TimePoint start = get_running_loop().time();
      for (Task<>& task : start_all(Hours::min())) task.wait();
      expect(get_running_loop().time() == start, "no time passes");
    });
  }
}

TEST_CASE("Options of hours::max() are for ever too", "[durations]") {
  on_loop({2, false}, [] {
    TcpListener listener = TcpListener::bind(Address::parse("127.0.0.1", 0));
    ConnectOptions options;
    options.timeout = Hours::max();
    options.happy_eyeballs_delay = Hours::max();
    auto peer = create_task([&] { return listener.accept(); });
    TcpStream stream = TcpStream::connect("127.0.0.1", listener.local_address().port(), options);
    stream.set_keep_alive(KeepAlive{.idle = Hours::max(), .interval = 1500ms});
    await(std::move(peer)).close();
    ThreadPool pool(2, Hours::max());
    expect_equal(await(pool.submit([] { return 7; })), 7, "the call");
    expect_equal(pool.shutdown(true, Hours::max()), std::size_t{0}, "calls left");
    get_running_loop().shutdown_default_executor(Hours::max());
  });
  Config config;
  config.workers = 1;
  config.blocking_keep_alive = Hours::max();
  config.slow_callback_duration = Hours::max();
  config.debug = true;
  EventLoop loop(config);
  CHECK(loop.run_until_complete([] { return to_thread([] { return 7; }); }) == 7);
}

TEST_CASE("advance_time by hours::max() ends at the end of time", "[durations]") {
  on_loop({1, false, true}, [] {
    auto late = create_task([] { sleep(std::chrono::hours(24L * 365 * 200)); });
    auto last = create_task([] { sleep(Hours::max()); });
    yield();
    advance_time(Hours::max());
    late.wait();
    expect(!last.done(), "for ever is longer than that");
    last.cancel();
    last.wait();
    expect_throws<std::invalid_argument>([] { advance_time(Hours::min()); }, "backwards");
  });
}
