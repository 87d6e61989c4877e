// What: std::atomic, but for one thing: as long as the process has never had a second thread, a read-modify-write
// is a plain load and a plain store, without the lock prefix (5 to 8 ns each; a task's life has half a dozen).
//
// Threads: any, as std::atomic.
//
// Invariant: while is_single_threaded(), nobody else can come between the load and the store. A second thread is
// only made by this one, later, and sees all that came before. A signal handler that comes in between has ended
// before the store: what it changes it must have put back (a lock taken and released, a reference and its release).
// libstdc++ counts the references of shared_ptr in the same way.
//
// Rejected: leaving the prefix out wherever a loop has one worker: its futures and tasks may be completed, cancelled
// and let go of by plain threads, as by the thread pool's.
#pragma once

#include <atomic>

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define FIBRIO_HAS_SINGLE_THREADED 1
#endif

namespace fibrio::detail {

[[nodiscard]] inline bool is_single_threaded() noexcept {
#ifdef FIBRIO_HAS_SINGLE_THREADED
  return __libc_single_threaded != 0;
#else
  return false;
#endif
}

template <class T>
class ElidingAtomic {
 public:
  constexpr ElidingAtomic(T value = T{}) noexcept : value_(value) {}  // NOLINT: as std::atomic
  ElidingAtomic(const ElidingAtomic&) = delete;
  ElidingAtomic& operator=(const ElidingAtomic&) = delete;

  [[nodiscard]] T load(std::memory_order order) const noexcept { return value_.load(order); }
  void store(T value, std::memory_order order) noexcept { value_.store(value, order); }

  T exchange(T value, std::memory_order order) noexcept {
    if (!is_single_threaded()) return value_.exchange(value, order);
    const T old = plain();
    set_plain(value);
    return old;
  }
  [[nodiscard]] bool compare_exchange_weak(T& expected, T value, std::memory_order success,
                                           std::memory_order failure) noexcept {
    if (!is_single_threaded()) return value_.compare_exchange_weak(expected, value, success, failure);
    const T old = plain();
    if (old == expected) {
      set_plain(value);
      return true;
    }
    expected = old;
    return false;
  }
  [[nodiscard]] bool compare_exchange_strong(T& expected, T value, std::memory_order success,
                                             std::memory_order failure) noexcept {
    if (!is_single_threaded()) return value_.compare_exchange_strong(expected, value, success, failure);
    return compare_exchange_weak(expected, value, success, failure);
  }
  T fetch_add(T amount, std::memory_order order) noexcept {
    if (!is_single_threaded()) return value_.fetch_add(amount, order);
    const T old = plain();
    set_plain(static_cast<T>(old + amount));
    return old;
  }
  T fetch_sub(T amount, std::memory_order order) noexcept {
    if (!is_single_threaded()) return value_.fetch_sub(amount, order);
    const T old = plain();
    set_plain(static_cast<T>(old - amount));
    return old;
  }
  T fetch_and(T bits, std::memory_order order) noexcept {
    if (!is_single_threaded()) return value_.fetch_and(bits, order);
    const T old = plain();
    set_plain(static_cast<T>(old & bits));
    return old;
  }
  T fetch_or(T bits, std::memory_order order) noexcept {
    if (!is_single_threaded()) return value_.fetch_or(bits, order);
    const T old = plain();
    set_plain(static_cast<T>(old | bits));
    return old;
  }

 private:
  [[nodiscard]] T plain() const noexcept { return value_.load(std::memory_order_relaxed); }
  void set_plain(T value) noexcept { value_.store(value, std::memory_order_relaxed); }

  std::atomic<T> value_;
};

}  // namespace fibrio::detail
