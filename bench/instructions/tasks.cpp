// Paths: creating, running, switching and cancelling tasks; callbacks.
#include <memory>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "meter.hpp"

namespace fibrio::instructions {

namespace {

void spawn_and_await_100(int operations) {
  constexpr int kBatch = 100;
  std::vector<Task<>> tasks;
  tasks.reserve(kBatch);
  for (int done = 0; done < operations; done += kBatch) {
    for (int i = 0; i < kBatch; ++i) tasks.push_back(create_task([] {}));
    for (const auto& task : tasks) await(task);
    tasks.clear();
  }
}

// One yield of the caller is a pass of `all` tasks.
void count_yield(const char* path, int all, Strand* strand) {
  bool ends = false;
  std::vector<Task<>> others;
  const auto yield_until_end = [&ends] {
    while (!ends) yield();
  };
  for (int i = 1; i < all; ++i) others.push_back(create_task({.strand = strand}, yield_until_end));
  count(path, 20'000, [all](int n) {
    for (int i = 0; i < n; i += all) yield();
  });
  ends = true;
  for (const auto& task : others) await(task);
}

std::vector<Task<>> parked_tasks(int count) {
  std::vector<Task<>> tasks;
  for (int i = 0; i < count; ++i) {
    tasks.push_back(create_task([] { sleep(std::chrono::hours(1)); }));
  }
  yield();
  return tasks;
}

void cancel_and_join(int, std::vector<Task<>>& tasks) {
  for (const auto& task : tasks) task.cancel();
  for (const auto& task : tasks) task.wait();
}

void call_soon_by_100(int operations) {
  constexpr int kBatch = 100;
  EventLoop& loop = get_running_loop();
  int calls = 0;
  for (int done = 0; done < operations; done += kBatch) {
    for (int i = 0; i < kBatch; ++i) loop.call_soon([&calls] { ++calls; });
    yield();
  }
}

}  // namespace

void count_tasks() {
  count("spawn_await_by_100", 10'000, spawn_and_await_100);
  count("spawn_await_one", 5'000, [](int n) {
    for (int i = 0; i < n; ++i) await(create_task([] {}));
  });
  count("spawn_eager_await", 5'000, [](int n) {
    for (int i = 0; i < n; ++i) await(create_task({.eager_start = true}, [] {}));
  });
  count_yield("yield_1000_tasks", 1'000, nullptr);
  count_yield("yield_2_tasks", 2, nullptr);
  {
    Strand strand;
    strand.run([&strand] { count_yield("yield_2_tasks_of_strand", 2, &strand); });
    count("strand_run", 5'000, [&strand](int n) {
      for (int i = 0; i < n; ++i) strand.run([] {});
    });
  }
  count_prepared("cancel_parked_join", 2'000, parked_tasks, cancel_and_join);
  count("call_soon", 10'000, call_soon_by_100);
}

}  // namespace fibrio::instructions
