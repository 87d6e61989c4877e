// What is made once, by whoever needs it first, also if to make it takes waits: call_once, Lazy.
//
//   fibrio::Lazy<Connection> database([] { return Connection::open(url()); });
//   database.get().query(...);  // the first one connects, the others wait for that
//
// Function-local statics and std::call_once may wait too in most programs; docs/debugging.md says in which not. These
// always may, and those who wait can be cancelled.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <utility>

#include "fibrio/locks.hpp"

namespace fibrio {

namespace detail {
class OnceTurn;
}

// What call_once remembers. It may be destroyed as soon as a call with it has returned, if no other waits in one that
// was not cancelled: the destructor waits until the one that called the function has left it.
class OnceFlag {
 public:
  OnceFlag() = default;
  ~OnceFlag();
  OnceFlag(const OnceFlag&) = delete;
  OnceFlag& operator=(const OnceFlag&) = delete;

 private:
  template <class F, class... A>
  friend void call_once(OnceFlag& flag, F&& function, A&&... arguments);
  friend class detail::OnceTurn;

  std::atomic<bool> is_done_{false};          // release, by who called; acquire, by who need not
  std::atomic<const void*> caller_{nullptr};  // for recursion only: relaxed, each compares it with itself
  Lock lock_;                                 // held by who calls
};

namespace detail {
// The right to call, or the knowledge that it was done.
class OnceTurn {
 public:
  explicit OnceTurn(OnceFlag& flag);
  ~OnceTurn();
  OnceTurn(const OnceTurn&) = delete;
  OnceTurn& operator=(const OnceTurn&) = delete;
  [[nodiscard]] bool is_mine() const noexcept { return is_mine_; }
  void finish() noexcept { flag_.is_done_.store(true, std::memory_order_release); }

 private:
  OnceFlag& flag_;
  bool is_mine_ = false;
};
}  // namespace detail

// Calls the function unless a call with this flag has returned before. Others who come meanwhile wait; if it throws,
// the first of them calls its own function.
// Waits: as the function does, or until another's call has ended. Cancel: CancelledError; one that leaves the function
// is an exception like others. Throws: what the function throws; RuntimeError if the function comes here again with
// the same flag, or if it would have to wait inside a callback. Threads: any.
template <class F, class... A>
void call_once(OnceFlag& flag, F&& function, A&&... arguments) {
  if (flag.is_done_.load(std::memory_order_acquire)) return;
  detail::OnceTurn turn(flag);
  if (!turn.is_mine()) return;
  std::invoke(std::forward<F>(function), std::forward<A>(arguments)...);
  turn.finish();
}

// A value that is made when it is asked for first.
template <class T>
class Lazy {
 public:
  explicit Lazy(std::function<T()> make) : make_(std::move(make)) {}
  Lazy(const Lazy&) = delete;
  Lazy& operator=(const Lazy&) = delete;

  // Returns the value; makes it if nobody has yet. As call_once: if making it fails, the next one tries.
  T& get() {
    call_once(flag_, [this] { value_.emplace(Made{make_}); });
    return *value_;
  }

 private:
  struct Made {  // so that what cannot be moved can be returned into its place
    const std::function<T()>& make;
    operator T() const { return make(); }  // NOLINT(google-explicit-constructor)
  };

  const std::function<T()> make_;
  OnceFlag flag_;
  std::optional<T> value_;
};

}  // namespace fibrio
