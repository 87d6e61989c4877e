// Set when the grace period is over: whoever still works gives up.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace http_server {

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

}  // namespace http_server
