// What: what the scheduler promises on machines with up to 128 CPUs: the library's workers on simulated ones. The
// bounds are a little above what docs/scale.md shows.
#include "support/catch.hpp"

#include <cstddef>
#include <functional>
#include <string>

#include "simulation/workloads.hpp"

using namespace fibrio::simulation;  // NOLINT

namespace {

constexpr std::size_t kWorkers[] = {2, 8, 32, 128};

Setting setting_of(std::size_t workers, std::uint64_t seed = 1) {
  Setting setting;
  setting.workers = workers;
  setting.seed = seed;
  return setting;
}

struct Workload {
  std::string name;
  std::function<Report(const Setting&)> run;
};

const Workload kWorkloads[] = {
    {"fork_join", fork_join},
    {"one_producer", one_producer},
    {"ping_pong", ping_pong},
    {"all_yield", all_yield},
    {"requests", [](const Setting& setting) { return requests(setting, 0.8); }},
};

}  // namespace

TEST_CASE("Simulation: the same seed gives the same trace, another one another", "[simulation]") {
  for (const Workload& workload : kWorkloads) {
    INFO(workload.name);
    const Report first = workload.run(setting_of(8));
    const Report again = workload.run(setting_of(8));
    const Report other = workload.run(setting_of(8, 2));
    CHECK(first.totals.trace == again.totals.trace);
    CHECK(first.makespan == again.makespan);
    CHECK(first.waits == again.waits);
    CHECK(first.totals.trace != other.totals.trace);
  }
}

TEST_CASE("Simulation: one worker does the work in the order of asyncio and wastes no time", "[simulation]") {
  const Report yields = all_yield(setting_of(1));
  CHECK(yields.efficiency() > 0.99);
  CHECK(yields.totals.lost == 0);
  // Each waits for the other 15, and for a poll at most.
  CHECK(quantile(yields.waits, 0.5) == 15 * 330);
  CHECK(quantile(yields.waits, 1) <= 15 * 330 + 200);
}

// Wake-ups go in a row, each worker that finds work wakes the next: 5.6 us for each until all are awake.
TEST_CASE("Simulation: nobody sleeps beside a ready task but while the wake-ups are under way",
          "[simulation]") {
  for (const Workload& workload : kWorkloads) {
    for (const std::size_t workers : kWorkers) {
      INFO(workload.name << ", " << workers << " workers");
      const Report report = workload.run(setting_of(workers));
      CHECK(report.totals.longest_lost <= static_cast<Nanos>(workers) * 6'000);
    }
  }
}

TEST_CASE("Simulation: work that can be shared is shared", "[simulation]") {
  for (const std::size_t workers : {2, 8, 16, 32}) {
    INFO(workers << " workers");
    CHECK(fork_join(setting_of(workers)).efficiency() > 0.95);
    CHECK(one_producer(setting_of(workers)).efficiency() > 0.95);
    CHECK(all_yield(setting_of(workers)).efficiency() > 0.88);
    CHECK(ping_pong(setting_of(workers)).efficiency() > 0.75);
  }
  // Here the rounds of wake-ups are a good part of the millisecond that is to be shared.
  CHECK(fork_join(setting_of(128)).efficiency() > 0.6);
  // The producer is the bottleneck, and keeps at it.
  CHECK(one_producer(setting_of(128)).efficiency() > 0.98);
}

TEST_CASE("Simulation: steals, wake-ups and failed searches per task stay bounded", "[simulation]") {
  for (const Workload& workload : kWorkloads) {
    for (const std::size_t workers : kWorkers) {
      INFO(workload.name << ", " << workers << " workers");
      const Report report = workload.run(setting_of(workers));
      // What one producer fills a ring of 1,024 with goes from thief to thief, by halves.
      CHECK(report.per_task(report.stolen) < 2.5);
      CHECK(report.per_task(report.totals.wakes) < 0.2);
      CHECK(report.per_task(report.failed_searches) < 0.7);
    }
  }
}

TEST_CASE("Simulation: a request that comes to a worker that computes is taken over by another",
          "[simulation]") {
  for (const std::size_t workers : {8, 32, 128}) {
    INFO(workers << " workers");
    const Report report = requests(setting_of(workers), 0.5);
    CHECK(report.waits.size() == 2'000 * workers);
    CHECK(quantile(report.waits, 0.5) < 10'000);
    // Idle neighbours call a worker stalled after 0.05 ms. Only what comes on a connection whose last request is a
    // long one has to wait for that.
    CHECK(quantile(report.waits, 0.99) < 100'000);
    CHECK(quantile(report.waits, 1) < 1'500'000);
    // One task accepts them all, 64 for each worker.
    CHECK(report.most_connections < 80);
  }
}

TEST_CASE("Simulation: no ready task waits for 5 ms beside a worker that sleeps", "[simulation]") {
  for (const std::size_t workers : kWorkers) {
    INFO(workers << " workers");
    const Report report = surprise(setting_of(workers));
    CHECK(report.waits.size() == 20);
    CHECK(quantile(report.waits, 1) < 5'000'000);
  }
}

TEST_CASE("Simulation: what a wake-up takes shows in what is lost", "[simulation]") {
  Setting slow = setting_of(16);
  slow.costs.wake_latency *= 7;  // a VM whose CPUs are halted
  const Report report = fork_join(setting_of(16));
  const Report slower = fork_join(slow);
  CHECK(report.totals.lost > 0);
  CHECK(slower.totals.lost > 4 * report.totals.lost);
  CHECK(slower.makespan > report.makespan);
}
