// What: helpers of the thread pool's tests: plain threads only, no runtime.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "fibrio/errors.hpp"
#include "fibrio/threads.hpp"
#include "offload/thread_pool.hpp"
#include "support/catch.hpp"

namespace pool_test {

using namespace std::chrono_literals;
using fibrio::AnyFuture;
using fibrio::Future;
using fibrio::ThreadPool;
using fibrio::detail::FutureState;
using fibrio::detail::FutureWaiter;
using fibrio::detail::ThreadPoolAccess;
using fibrio::detail::ThreadPoolImpl;

inline ThreadPoolImpl& impl(ThreadPool& pool) { return ThreadPoolAccess::impl(pool); }

// Blocks this thread until `future` is done, without the runtime's own way of doing that.
inline void wait_done(const AnyFuture& future) {
  struct Waiter : FutureWaiter {
    Waiter() : FutureWaiter(&told) {}
    static void told(FutureWaiter& self, FutureState&) noexcept {
      auto& waiter = static_cast<Waiter&>(self);
      const std::lock_guard lock(waiter.mutex);
      waiter.done = true;
      waiter.condition.notify_one();  // under the lock: the waiter is gone right after
    }
    std::mutex mutex;
    std::condition_variable condition;
    bool done = false;
  } waiter;
  if (!future.state()->add_waiter(waiter)) return;
  std::unique_lock lock(waiter.mutex);
  waiter.condition.wait(lock, [&] { return waiter.done; });
}

template <class T>
const T& value_of(const Future<T>& future) {
  wait_done(future);
  return future.result();
}

// Polls for what another thread is about to do; false after ten seconds.
inline bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

// Calls that enter it stay until it is opened.
class Gate {
 public:
  void enter() {
    std::unique_lock lock(mutex_);
    ++entered_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait_entered(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return entered_ >= count; });
  }
  [[nodiscard]] std::function<void()> visitor() {
    return [this] { enter(); };
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int entered_ = 0;
  bool open_ = false;
};

// To be declared behind the pool: a test that fails half-way must not leave the pool waiting for its calls.
struct OpenAtEnd {
  explicit OpenAtEnd(Gate& g) : gate(g) {}
  ~OpenAtEnd() { gate.open(); }
  Gate& gate;
};

// Counts destructions of what a callable holds.
struct Token {
  explicit Token(std::atomic<int>& counter) : destroyed(&counter) {}
  Token(Token&& other) noexcept : destroyed(std::exchange(other.destroyed, nullptr)) {}
  ~Token() {
    if (destroyed != nullptr) destroyed->fetch_add(1);
  }
  std::atomic<int>* destroyed;
};

inline std::size_t threads_of_process() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

// pthread_create as it is when the machine is out of threads after `creations_left` more.
inline std::atomic<int> creations_left{0};
inline int scarce_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*main)(void*),
                         void* argument) {
  if (creations_left.fetch_sub(1) <= 0) return EAGAIN;
  return ::pthread_create(thread, attributes, main, argument);
}

}  // namespace pool_test
