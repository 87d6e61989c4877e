// What: what the simulated workers are given to do, and what is measured of it. Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "simulation/machine.hpp"

namespace fibrio::simulation {

struct Setting {
  std::size_t workers = 1;
  std::uint64_t seed = 1;
  Costs costs = {};
};

struct Report {
  std::size_t workers = 0;
  std::uint64_t tasks = 0;  // or messages, or yields: what the figures "per task" are per
  Nanos makespan = 0;
  Nanos ideal = 0;  // what no schedule can be faster than: work / workers, or the longest chain
  Totals totals;
  std::uint64_t stolen = 0;
  std::uint64_t parks = 0;
  std::uint64_t searches = 0;
  std::uint64_t failed_searches = 0;
  std::size_t most_connections = 0;  // requests only: of one worker
  std::vector<Nanos> waits;          // from ready to running, sorted
  std::vector<Nanos>
      ideal_waits;  // requests only: with one queue, first come first served, and no other cost

  [[nodiscard]] double efficiency() const noexcept {
    return static_cast<double>(ideal) / static_cast<double>(makespan);
  }
  [[nodiscard]] double mean_queue() const noexcept {
    return totals.queued_sum / static_cast<double>(totals.samples);
  }
  // The part of all CPU time in which a worker slept while a ready task waited for it.
  [[nodiscard]] double lost() const noexcept {
    return static_cast<double>(totals.lost) / static_cast<double>(makespan) / static_cast<double>(workers);
  }
  // How often the word of the idle protocol is written, at most: a search begins and ends, so does a sleep.
  [[nodiscard]] std::uint64_t idle_word_writes() const noexcept { return 2 * (searches + parks); }
  [[nodiscard]] double per_task(std::uint64_t count) const noexcept {
    return static_cast<double>(count) / static_cast<double>(tasks);
  }
};

// The value that the given part of them does not exceed; they are sorted.
[[nodiscard]] Nanos quantile(const std::vector<Nanos>& sorted, double part) noexcept;

// A tree of tasks with two children each; 16,384 leaves of 5 us.
[[nodiscard]] Report fork_join(const Setting& setting);
// One task makes 20,000 of 5 us.
[[nodiscard]] Report one_producer(const Setting& setting);
// Two pairs per worker hand a turn to each other, 500 times each way; 0.5 us per turn.
[[nodiscard]] Report ping_pong(const Setting& setting);
// 16 tasks per worker yield 200 times each, every 0.3 us.
[[nodiscard]] Report all_yield(const Setting& setting);
// 20 times: a task that has made 500 short ones (0.2 us) makes one more, of 10 us, and then computes for 10 ms. Waits:
// of those 20, while all other workers sleep.
[[nodiscard]] Report surprise(const Setting& setting);
// Which requests take long.
struct Mix {
  double part = 0.01;
  Nanos work = 1'000'000;
};

// Requests come in at random on 64 connections per worker, 2,000 per worker, so that the workers are busy for that
// part of the time; all take 10 us but the long ones. Waits: from the request's sending to its reception.
// Everything is counted from the first request on, when all connections wait.
[[nodiscard]] Report requests(const Setting& setting, double load, const Mix& long_ones = {});

}  // namespace fibrio::simulation
