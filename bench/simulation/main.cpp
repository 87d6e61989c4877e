// Question: how do the scheduler's decisions scale from 1 to 128 workers? The library's own workers run on simulated
// machines (tests/simulation); times are simulated, and the same in every run. Prints the tables of docs/scale.md.
//   simulate                    a table per workload
//   simulate --row <name> [<ns of a wake-up> [<ns of a look into a queue>]]
//                               one row with the telling figures; for simulate_<policy> and other machines
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "simulation/workloads.hpp"

using namespace fibrio::simulation;  // NOLINT

namespace {

struct Workload {
  const char* name;
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

void print_table(const Workload& workload) {
  std::printf("\n### %s\n\n", workload.name);
  const bool has_ideal = std::strncmp(workload.name, "requests", 8) == 0;
  std::printf(
      "| workers | of ideal | lost | longest, µs | stolen | wake-ups | sleeps | failed searches | idle word |"
      " queue, max / mean | wait p50 / p99 / max, µs |%s\n|---|---|---|---|---|---|---|---|---|---|---|%s\n",
      has_ideal ? " with one queue |" : "", has_ideal ? "---|" : "");
  for (const std::size_t workers : {1, 2, 8, 16, 32, 64, 128}) {
    const Report report = workload.run({workers, 1, {}});
    std::printf("| %zu | %.1f %% | %.1f %% | %.0f | %.3f | %.3f | %.3f | %.3f | %.2f | %zu / %.1f | %s |",
                workers, 100 * report.efficiency(), 100 * report.lost(), micros(report.totals.longest_lost),
                report.per_task(report.stolen), report.per_task(report.totals.wakes),
                report.per_task(report.parks), report.per_task(report.failed_searches),
                report.per_task(report.idle_word_writes()), report.totals.most_queued, report.mean_queue(),
                waits(report.waits).c_str());
    std::printf(has_ideal ? " %s |\n" : "%s\n", has_ideal ? waits(report.ideal_waits).c_str() : "");
  }
}

void print_row(const char* name, const Costs& costs) {
  std::printf("| %s |", name);
  for (const std::size_t workers : {8, 64, 128}) {
    const Setting setting{workers, 1, costs};
    std::printf(" %.0f %% |", 100 * fork_join(setting).efficiency());
    std::printf(" %.0f %% |", 100 * ping_pong(setting).efficiency());
    const Report served = requests(setting, 0.8);
    std::printf(" %.0f / %.0f | %.2f |", micros(quantile(served.waits, 0.5)),
                micros(quantile(served.waits, 0.99)), served.per_task(served.totals.wakes));
  }
  std::printf("\n");
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 2 && std::strcmp(arguments[1], "--row") == 0) {
    Costs costs;
    if (count > 3) costs.wake_latency = std::atoll(arguments[3]);
    if (count > 4) costs.probe = std::atoll(arguments[4]);
    print_row(arguments[2], costs);
    return 0;
  }
  for (const Workload& workload : kWorkloads) print_table(workload);
}
