// What: makes one entry of the system-call table fail, from its k-th use on, so many times.
// Threads: install (the constructor) and destruction only while nothing else of the library runs; arm,
// disarm, hits: any.
//
//   Fault<&sys::Syscalls::recv> recv;          // goes through to the real call
//   recv.arm(-ECONNRESET, {.first = 5});       // the fifth call from now fails
#pragma once

#include <atomic>
#include <climits>
#include <mutex>

#include "base/syscalls.hpp"
#include "support/scoped_syscalls.hpp"

namespace fibrio::test {

struct FaultPlan {
  int first = 1;  // which call from now is the first to fail
  int times = 1;  // how many fail
};

template <auto kMember>
class Fault;

template <class Result, class... Args, Result (*sys::Syscalls::*kMember)(Args...)>
class Fault<kMember> {
 public:
  using Filter = bool (*)(Args...);

  // Only calls that `filter` accepts count.
  explicit Fault(Filter filter = nullptr) {
    filter_ = filter;
    disarm();
    sys::syscalls.*kMember = &call;
  }
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
  ~Fault() { disarm(); }

  void arm(Result result, FaultPlan plan = {}) {
    std::lock_guard guard(lock_);
    result_ = result;
    skip_ = plan.first - 1;
    left_ = plan.times;
    hits_ = 0;
  }
  void disarm() {
    std::lock_guard guard(lock_);
    left_ = 0;
    skip_ = 0;
  }
  [[nodiscard]] int hits() const {
    std::lock_guard guard(lock_);
    return hits_;
  }

 private:
  static Result call(Args... args) {
    if (filter_ == nullptr || filter_(args...)) {
      std::lock_guard guard(lock_);
      if (left_ > 0 && skip_-- <= 0) {
        --left_;
        ++hits_;
        return result_;
      }
    }
    return (sys::real_syscalls.*kMember)(args...);
  }

  static inline std::mutex lock_;
  static inline Filter filter_ = nullptr;
  static inline Result result_{};
  static inline int skip_ = 0;
  static inline int left_ = 0;
  static inline int hits_ = 0;
};

inline constexpr int kAlways = INT_MAX;

}  // namespace fibrio::test
