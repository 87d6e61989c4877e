// Paths: scopes and combinations of tasks.
#include <vector>

#include "fibrio/fibrio.hpp"
#include "meter.hpp"

namespace fibrio::instructions {

constexpr int kChildren = 10;

void count_composition() {
  count("task_group_of_10", 1'000, [](int n) {
    for (int i = 0; i < n; ++i) {
      task_group([](TaskGroup& group) {
        for (int child = 0; child < kChildren; ++child) group.create_task([] {});
      });
    }
  });
  count("gather_of_10", 1'000, [](int n) {
    for (int i = 0; i < n; ++i) {
      std::vector<Task<int>> tasks;
      tasks.reserve(kChildren);
      for (int child = 0; child < kChildren; ++child) tasks.push_back(create_task([child] { return child; }));
      static_cast<void>(gather(std::move(tasks)));
    }
  });
  auto done = get_running_loop().create_future<int>();
  done.set_result(1);
  count("timeout_around_ready_await", 10'000, [&done](int n) {
    for (int i = 0; i < n; ++i) {
      static_cast<void>(timeout(std::chrono::hours(1), [&done] { return await(done); }));
    }
  });
}

}  // namespace fibrio::instructions
