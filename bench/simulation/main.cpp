// Question: how do the scheduler's decisions scale from 1 to 128 workers? The library's own workers run on simulated
// machines (tests/simulation); times are simulated, and the same in every run. Prints the tables of docs/scale.md.
//   simulate [--seed N] [--workload <start of its name>]
//                               a table per workload; requests come with the fds of the fullest worker
//   simulate [--seed N] --row <name> [<ns of a wake-up> [<ns of a look into a queue>]]
//                               one row with the telling figures; for simulate_<policy> and other machines
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

#include "../arguments.hpp"
#include "simulation/workloads.hpp"

using namespace fibrio::simulation;  // NOLINT

namespace {

struct Workload {
  std::string_view name;
  std::function<Report(const Setting&)> run;
};

const Workload kWorkloads[] = {
    {"fork-join tree", fork_join},
    {"one producer", one_producer},
    {"ping-pong pairs", ping_pong},
    {"all yield", all_yield},
    {"unexpectedly long step", surprise},
    {"requests, 50 % load", [](const Setting& setting) { return requests(setting, 0.5); }},
    {"requests, 80 % load", [](const Setting& setting) { return requests(setting, 0.8); }},
    {"requests, 95 % load", [](const Setting& setting) { return requests(setting, 0.95); }},
    {"requests, 80 % load, 0.2 % take 5 ms",
     [](const Setting& setting) {
       return requests(setting, 0.8, {0.002, 5'000'000});
     }},
};

double micros(Nanos time) { return static_cast<double>(time) / 1'000; }

std::string waits(const std::vector<Nanos>& of) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f / %.0f / %.0f", micros(quantile(of, 0.5)),
                micros(quantile(of, 0.99)), micros(quantile(of, 1)));
  return text;
}

void print_table(const Workload& workload, std::uint64_t seed) {
  std::printf("\n### %s\n\n", workload.name.data());
  const bool are_requests = workload.name.starts_with("requests");
  std::printf(
      "| workers | of ideal | lost | longest, µs | stolen | wake-ups | sleeps | failed searches | idle word |"
      " queue, max / mean | wait p50 / p99 / max, µs |%s\n|---|---|---|---|---|---|---|---|---|---|---|%s\n",
      are_requests ? " with one queue | fds of the fullest |" : "", are_requests ? "---|---|" : "");
  for (const std::size_t workers : {1, 2, 8, 16, 32, 64, 128}) {
    const Report report = workload.run({workers, seed, {}});
    std::printf("| %zu | %.1f %% | %.1f %% | %.0f | %.3f | %.3f | %.3f | %.3f | %.2f | %zu / %.1f | %s |",
                workers, 100 * report.efficiency(), 100 * report.lost(), micros(report.totals.longest_lost),
                report.per_task(report.stolen), report.per_task(report.totals.wakes),
                report.per_task(report.parks), report.per_task(report.failed_searches),
                report.per_task(report.idle_word_writes()), report.totals.most_queued, report.mean_queue(),
                waits(report.waits).c_str());
    if (are_requests) std::printf(" %s | %zu |", waits(report.ideal_waits).c_str(), report.most_connections);
    std::printf("\n");
  }
}

void print_row(const std::string& name, std::uint64_t seed, const Costs& costs) {
  std::printf("| %s |", name.c_str());
  for (const std::size_t workers : {8, 64, 128}) {
    const Setting setting{workers, seed, costs};
    std::printf(" %.0f %% |", 100 * fork_join(setting).efficiency());
    std::printf(" %.0f %% |", 100 * ping_pong(setting).efficiency());
    const Report served = requests(setting, 0.8);
    std::printf(" %.0f / %.0f | %.2f |", micros(quantile(served.waits, 0.5)),
                micros(quantile(served.waits, 0.99)), served.per_task(served.totals.wakes));
  }
  std::printf("\n");
}

}  // namespace

int main(int count, char** words) {
  bench::Arguments arguments(
      count, words,
      "simulate [--seed N] [--workload <start of its name>]\n"
      "       simulate [--seed N] --row <name> [<ns of a wake-up> [<ns of a look into a queue>]]");
  constexpr Nanos kLongest = 1'000'000'000;
  std::uint64_t seed = 1;
  std::string row;
  std::string_view start;
  Costs costs;
  while (arguments.next()) {
    if (arguments.is("--seed")) {
      seed = arguments.value<std::uint64_t>(1, UINT64_MAX);
    } else if (arguments.is("--workload")) {
      start = arguments.value();
    } else if (arguments.is("--row")) {
      row = arguments.value();
      if (row.empty()) arguments.refuse("--row: its name is empty");
      if (arguments.next()) costs.wake_latency = arguments.number<Nanos>("ns of a wake-up", 0, kLongest);
      if (arguments.next()) costs.probe = arguments.number<Nanos>("ns of a look into a queue", 0, kLongest);
    } else {
      arguments.refuse_unknown();
    }
  }
  if (!row.empty()) {
    if (!start.empty()) arguments.refuse("--row and --workload exclude each other");
    print_row(row, seed, costs);
    return 0;
  }
  bool any = false;
  for (const Workload& workload : kWorkloads) {
    if (!workload.name.starts_with(start)) continue;
    any = true;
    print_table(workload, seed);
  }
  if (!any) arguments.refuse("--workload: none begins with '" + std::string(start) + "'");
}
