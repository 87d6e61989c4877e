// staggered_race: what asyncio's own tests say of it, and what must hold on several workers.
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/passes.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

using Ways = std::vector<std::function<std::string()>>;

template <class E>
bool is_a(const std::exception_ptr& exception) {
  return exception != nullptr && throws<E>([&] { std::rethrow_exception(exception); });
}

std::string fail() { throw std::runtime_error("failed"); }

}  // namespace

// asyncio: test_staggered StaggeredTests.test_empty
TEST_CASE("staggered_race of nothing has no winner", "[staggered]") {
  in_tasks([](EventLoop&) {
    const auto race = staggered_race(Ways{}, 1s);
    TASK_CHECK(!race.value);
    TASK_CHECK(!race.index);
    TASK_CHECK(race.exceptions.empty());
  });
}

// asyncio: test_staggered StaggeredTests.test_one_successful
TEST_CASE("staggered_race: the first that returns wins, and later ones are never started", "[staggered]") {
  in_tasks([](EventLoop& loop) {
    bool started = false;
    const auto race = staggered_race(Ways{[] { return sleep(1s), "first"; },
                                          [&] {
                                            started = true;
                                            return "second";
                                          }},
                                     10s);
    TASK_CHECK(race.value == "first");
    TASK_CHECK(race.index == 0);
    TASK_CHECK(race.exceptions == std::vector<std::exception_ptr>{nullptr});
    TASK_CHECK(!started);
    TASK_CHECK(loop.time() == TimePoint(1s));
  });
}

// asyncio: test_staggered StaggeredTests.test_first_error_second_successful
TEST_CASE("staggered_race: an error starts the next at once", "[staggered]") {
  in_tasks([](EventLoop& loop) {
    for (const std::optional<Duration> delay : {std::optional<Duration>(10s), std::optional<Duration>()}) {
      const auto race = staggered_race(Ways{&fail, [] { return "second"; }}, delay);
      TASK_CHECK(race.value == "second");
      TASK_CHECK(race.index == 1);
      TASK_CHECK(race.exceptions.size() == 2);
      TASK_CHECK(is_a<std::runtime_error>(race.exceptions[0]));
      TASK_CHECK(race.exceptions[1] == nullptr);
    }
    TASK_CHECK(loop.time() == TimePoint(0s));
  });
}

// asyncio: test_staggered StaggeredTests.test_first_timeout_second_successful
TEST_CASE("staggered_race: after the delay the next is started, and the loser cancelled", "[staggered]") {
  in_tasks([](EventLoop& loop) {
    const auto race = staggered_race(Ways{[] { return sleep(10s), "first"; }, [] { return "second"; }}, 1s);
    TASK_CHECK(race.value == "second");
    TASK_CHECK(race.index == 1);
    TASK_CHECK(race.exceptions.size() == 2);
    TASK_CHECK(is_a<CancelledError>(race.exceptions[0]));
    TASK_CHECK(race.exceptions[1] == nullptr);
    TASK_CHECK(loop.time() == TimePoint(1s));
  });
}

// asyncio: test_staggered StaggeredTests.test_none_successful
TEST_CASE("staggered_race: if all fail there are all errors and no winner", "[staggered]") {
  in_tasks([](EventLoop&) {
    for (const std::optional<Duration> delay : {std::optional<Duration>(10s), std::optional<Duration>()}) {
      const auto race =
          staggered_race(Ways{&fail, []() -> std::string { throw std::logic_error("too"); }}, delay);
      TASK_CHECK(!race.value);
      TASK_CHECK(!race.index);
      TASK_CHECK(race.exceptions.size() == 2);
      TASK_CHECK(is_a<std::runtime_error>(race.exceptions[0]));
      TASK_CHECK(is_a<std::logic_error>(race.exceptions[1]));
    }
  });
}

// asyncio: test_staggered StaggeredTests.test_multiple_winners
TEST_CASE("staggered_race: of two that become ready together the first wins", "[staggered]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Event event;
      const auto wait = [&](int index) {
        event.wait();
        return index;
      };
      const auto race =
          staggered_race(std::vector<std::function<int()>>{[&] { return wait(0); }, [&] { return wait(1); },
                                                           [&] {
                                                             event.set();
                                                             Event().wait();
                                                             return 2;
                                                           }},
                         100ms);
      TASK_CHECK(race.value == 0);
      TASK_CHECK(race.index == 0);
      TASK_CHECK(race.exceptions.size() == 3);
      TASK_CHECK(race.exceptions[0] == nullptr);
      TASK_CHECK(is_a<CancelledError>(race.exceptions[1]));
      TASK_CHECK(is_a<CancelledError>(race.exceptions[2]));
    });
  });
}

// asyncio: test_staggered StaggeredTests.test_cancelled
TEST_CASE("staggered_race passes every cancel on, and throws it in the end", "[staggered]") {
  on_one_worker([](EventLoop& loop) {
    Log log;
    loop.run_until_complete([&] {
      TASK_CHECK(throws<TimeoutError>([&] {
        timeout(never, [&](Timeout& outer) {
          timeout(never, [&](Timeout& inner) {
            const auto way = [&] {
              inner.reschedule(TimePoint(-1s));
              yield();
              try {
                yield();
              } catch (const CancelledError&) {
                log.add("first");
              }
              outer.reschedule(TimePoint(-1s));
              yield();
              try {
                yield();
              } catch (const CancelledError&) {
                log.add("second");
              }
            };
            try {
              staggered_race(std::vector<std::function<void()>>{way});
            } catch (const CancelledError&) {
              log.add("third");
              throw;
            }
          });
        });
      }));
    });
    CHECK(log.text() == "first second third");
  });
}

TEST_CASE("staggered_race that is cancelled waits until all that run have ended", "[staggered]") {
  in_tasks([](EventLoop& loop) {
    std::atomic<int> cancelled{0};
    std::atomic<int> ended{0};
    const auto way = [&] {
      for (int i = 0; i < 2; ++i) {
        try {
          sleep(100s);
        } catch (const CancelledError&) {
          ++cancelled;
        }
      }
      sleep(1s);
      ++ended;
      throw std::runtime_error("so that nobody wins");
    };
    Task<> race = create_task([&] { staggered_race(std::vector<std::function<void()>>(3, way), 1s); });
    sleep(10s);
    race.cancel("one");
    sleep(1s);
    race.cancel("two");
    TASK_CHECK(cancel_message([&] { await(race); }) == "two");
    TASK_CHECK(cancelled == 6);
    TASK_CHECK(ended == 3);
    TASK_CHECK(loop.time() == TimePoint(12s));
  });
}

TEST_CASE("staggered_race takes spans, arrays and results that cannot be copied", "[staggered]") {
  in_tasks([](EventLoop&) {
    auto way = [] { return std::make_unique<int>(3); };
    decltype(way) ways[] = {way, way};
    auto race = staggered_race(ways);
    TASK_CHECK(**race.value == 3);
    race = staggered_race(std::span(ways).subspan(1), 1s);
    TASK_CHECK(**race.value == 3);
  });
  CHECK_THROWS_AS(staggered_race(Ways{}), RuntimeError);
}

TEST_CASE("staggered_race on several workers has one winner, and nothing runs on after it", "[staggered]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([] {
      for (int i = 0; i < rounds(200); ++i) {
        std::atomic<int> running{0};
        const auto way = [&running, i](int number) {
          ++running;
          const struct Leave {
            std::atomic<int>& count;
            ~Leave() { --count; }
          } leave{running};
          if (i % 4 == number) throw std::runtime_error("no");
          sleep(std::chrono::microseconds(i % 3));
          return number;
        };
        std::vector<std::function<int()>> ways;
        for (int number = 0; number < 4; ++number) ways.push_back([&way, number] { return way(number); });
        const auto race = staggered_race(ways, 1us);
        TASK_CHECK(running == 0);
        TASK_CHECK(race.index.has_value());
        TASK_CHECK(race.value == static_cast<int>(*race.index));
        TASK_CHECK(race.exceptions.at(*race.index) == nullptr);
      }
    });
  });
}
