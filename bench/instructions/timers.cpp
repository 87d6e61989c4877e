// Paths: timers. The loop's virtual clock moves only when nothing is ready.
#include <vector>

#include "fibrio/fibrio.hpp"
#include "meter.hpp"

namespace fibrio::instructions {

using std::chrono::milliseconds;

void count_timers() {
  EventLoop& loop = get_running_loop();
  count("call_later_cancel", 10'000, [&loop](int n) {
    for (int i = 0; i < n; ++i) loop.call_later(milliseconds(1 + i % 1'000), [] {}).cancel();
  });
  count("call_later_fires", 10'000, [&loop](int n) {
    int fired = 0;
    for (int i = 0; i < n; ++i) loop.call_later(milliseconds(1 + i % 1'000), [&fired] { ++fired; });
    sleep(milliseconds(1'001));
  });
  count("sleep_alone", 5'000, [](int n) {
    for (int i = 0; i < n; ++i) sleep(milliseconds(1));
  });
  // 1,000 tasks that sleep 1 to 100 ms, 20 times each: creating them is part of the figure.
  count("sleep_1000_tasks", 20'000, [](int n) {
    constexpr int kTasks = 1'000;
    std::vector<Task<>> tasks;
    for (int i = 0; i < kTasks; ++i) {
      tasks.push_back(create_task([times = n / kTasks, time = milliseconds(1 + i * 37 % 100)] {
        for (int k = 0; k < times; ++k) sleep(time);
      }));
    }
    for (const auto& task : tasks) await(task);
  });
}

}  // namespace fibrio::instructions
