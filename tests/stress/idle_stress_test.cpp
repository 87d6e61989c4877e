// The promise about a loop that has nothing to do: under 1 % of a CPU.
#include <sys/resource.h>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// After some work, so that caches, watch and maintenance have been active.
void measure(std::size_t workers, int timers, const char* what) {
  constexpr auto kLength = 5s;
  double used = 0;
  std::uint64_t polls = 0;
  fibrio::EventLoop loop(config_of({workers, false}));
  loop.run_until_complete([&] {
    auto& running = fibrio::get_running_loop();
    std::vector<fibrio::TimerHandle> handles;
    for (int i = 0; i < timers; ++i) handles.push_back(running.call_later(1h, [] {}));
    std::vector<fibrio::Task<>> tasks;
    for (int i = 0; i < 1000; ++i) tasks.push_back(fibrio::create_task([] { fibrio::yield(); }));
    for (auto& task : tasks) fibrio::await(task);
    fibrio::to_thread([] {});
    fibrio::sleep(50ms);
    const auto count_polls = [&] {
      std::uint64_t sum = 0;
      for (const auto& worker : running.stats().workers) sum += worker.polls;
      return sum;
    };
    const double before = cpu_seconds();
    const std::uint64_t polls_before = count_polls();
    fibrio::sleep(kLength);
    used = cpu_seconds() - before;
    polls = count_polls() - polls_before;
    for (auto& handle : handles) handle.cancel();
  });
  const double share = used / std::chrono::duration<double>(kLength).count();
  std::printf("idle, %zu workers, %s: %.3f %% of a CPU, %llu looks at epoll in 5 s\n", workers, what,
              100 * share, static_cast<unsigned long long>(polls));
  std::fflush(stdout);
  CHECK(share < 0.01 * (kSlowdown > 1 ? 3 : 1));
  CHECK(polls < 200);
}

}  // namespace

TEST_CASE("An idle loop with 1 worker uses less than 1 % of a CPU", "[stress]") {
  measure(1, 0, "no timers");
}
TEST_CASE("An idle loop with 2 workers uses less than 1 % of a CPU", "[stress]") {
  measure(2, 0, "no timers");
}
TEST_CASE("An idle loop with 4 workers uses less than 1 % of a CPU", "[stress]") {
  measure(4, 0, "no timers");
}
TEST_CASE("1,000 timers an hour away cost an idle loop nothing", "[stress]") {
  measure(1, 1000, "1,000 timers an hour away");
  measure(4, 1000, "1,000 timers an hour away");
}
