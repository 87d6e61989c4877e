// What the parts of the server share.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>

#include "connection_table.hpp"
#include "options.hpp"

namespace http_server {

// Set when the grace period is over: whoever still works gives up.
class GiveUp {
 public:
  void set() {
    {
      const std::lock_guard lock(mutex_);
      set_.store(true, std::memory_order_relaxed);
    }
    changed_.notify_all();
  }
  [[nodiscard]] bool is_set() const { return set_.load(std::memory_order_relaxed); }
  // Blocks the calling *thread*, as any old library would. For the thread pool.
  void block_for(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time, [this] { return is_set(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> set_{false};
};

struct Totals {
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> requests{0};  // answered
  std::atomic<std::uint64_t> refused{0};   // 503: too many connections
  std::atomic<std::uint64_t> dropped{0};   // in flight when the grace period ended
};

struct ServerState {
  explicit ServerState(Options chosen) : options(std::move(chosen)), connections(options) {}

  const Options options;
  ConnectionTable connections;
  Totals totals;
  std::atomic<bool> draining{false};  // every answer closes its connection
  GiveUp give_up;
};

}  // namespace http_server
