// What: ends a test that hangs, with what its loops were doing.
// Threads: progress any; construction and destruction one.
// Protocol: whoever gets on calls progress(); a thread that sees no progress for a minute (times the slowdown of
// the build) prints the statistics and tasks of the watched loop, and aborts, so that a core or a debugger shows the
// rest.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "fibrio/fibrio.hpp"
#include "support/catch.hpp"

namespace fibrio::test {

inline void print_stats(const EventLoop& loop) {
  const LoopStats stats = loop.stats();
  std::fprintf(
      stderr,
      "tasks: %zu alive, %llu spawned, %llu finished, %llu cancelled; timers %zu, fds %zu, stacks %zu\n",
      stats.tasks_alive, static_cast<unsigned long long>(stats.tasks_spawned),
      static_cast<unsigned long long>(stats.tasks_finished),
      static_cast<unsigned long long>(stats.tasks_cancelled), stats.timers, stats.fds, stats.stacks_in_use);
  for (const WorkerStats& worker : stats.workers) {
    std::fprintf(
        stderr,
        "  worker: queue %zu, timers %zu, fds %zu, ran %llu, stole %llu, lost %llu, claims %llu, "
        "polls %llu, parks %llu, unparks %llu\n",
        worker.queue_length, worker.timers, worker.fds, static_cast<unsigned long long>(worker.tasks_run),
        static_cast<unsigned long long>(worker.stolen), static_cast<unsigned long long>(worker.stolen_from),
        static_cast<unsigned long long>(worker.claims), static_cast<unsigned long long>(worker.polls),
        static_cast<unsigned long long>(worker.parks), static_cast<unsigned long long>(worker.unparks));
  }
}

class Watchdog {
 public:
  explicit Watchdog(std::string what) : what_(std::move(what)), thread_([this] { watch(); }) {}
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog() {
    {
      std::lock_guard guard(lock_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void progress() noexcept { steps_.fetch_add(1, std::memory_order_relaxed); }
  // The loop whose statistics and tasks are printed; null before it ends.
  void watch_loop(EventLoop* loop) {
    std::lock_guard guard(lock_);
    loop_ = loop;
  }

 private:
  static constexpr std::chrono::seconds kPatience{60 * (kSlowdown > 1 ? 2 : 1)};

  void watch() {
    std::unique_lock guard(lock_);
    std::uint64_t seen = steps_.load(std::memory_order_relaxed);
    while (!changed_.wait_for(guard, kPatience, [this] { return ended_; })) {
      const std::uint64_t now = steps_.load(std::memory_order_relaxed);
      if (now == seen) {
        std::fprintf(stderr, "watchdog: no progress in '%s' for %lld s\n", what_.c_str(),
                     static_cast<long long>(kPatience.count()));
        if (loop_ != nullptr) {
          print_stats(*loop_);
          dump_tasks(std::cerr, *loop_);
        }
        std::abort();
      }
      seen = now;
    }
  }

  const std::string what_;
  std::atomic<std::uint64_t> steps_{0};
  std::mutex lock_;
  std::condition_variable changed_;
  EventLoop* loop_ = nullptr;  // guarded by lock_
  bool ended_ = false;         // guarded by lock_
  std::thread thread_;
};

}  // namespace fibrio::test
