// Question (W7): what memory does a task take that waits for an event? Unit: bytes per task, of resident
// memory ("resident") and of page tables ("page_tables"). Good: 4,500 bytes resident, one page of stack and
// what is beside it, with guards; 640 of page tables, as a page of these maps 2 MiB, which is 6.4 stacks of
// 256 KiB with their guards. Not measured: time; tasks that touch more of their stacks.
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "support.hpp"

using namespace std::chrono_literals;

namespace {

double status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::strtod(line.c_str() + key.size(), nullptr) * 1024;
  }
  return 0;
}

void parked(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    const std::int64_t count = run.range(1);
    for (auto _ : run) {
      fibrio::Event event;
      std::atomic<std::int64_t> waiting{0};
      std::vector<fibrio::Task<>> tasks;
      tasks.reserve(static_cast<std::size_t>(count));
      const double resident = status_bytes("VmRSS:");
      const double page_tables = status_bytes("VmPTE:");
      for (std::int64_t i = 0; i < count; ++i) {
        tasks.push_back(fibrio::create_task([&] {
          waiting.fetch_add(1, std::memory_order_relaxed);
          event.wait();
        }));
      }
      while (waiting.load(std::memory_order_relaxed) < count) fibrio::sleep(10ms);
      fibrio::sleep(10ms);
      const auto each = static_cast<double>(count);
      run.counters["resident"] = (status_bytes("VmRSS:") - resident) / each;
      run.counters["page_tables"] = (status_bytes("VmPTE:") - page_tables) / each;
      event.set();
      for (const auto& task : tasks) fibrio::await(task);
    }
  });
}

}  // namespace

// One iteration each, the small one first: memory that is recycled would not count.
BENCHMARK(parked)
    ->ArgNames({"workers", "tasks"})
    ->Args({1, 100'000})
    ->Args({1, 1'000'000})
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
