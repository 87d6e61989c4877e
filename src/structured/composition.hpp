// What: a future that is completed by what happens to others (gather, wait, shield, as_completed), with one
// watch for each of them: listed in the other future, queued on the loop as a done-callback when that is
// done.
//
// Threads: watch, detach: the task that composes. Told by anybody; on_child runs on any worker, for several
// children at once.
//
// Invariant: one reference for the composer, one for each watch that is listed or queued. A watch holds its
// future until the composition goes. Watches lie behind the composition, in the same allocation.
//
// Rejected: add_done_callback with a closure (an allocation for each child, and an id to find it by);
// completing straight from "told" (one pass less than asyncio, so another order with one worker).
#pragma once

#include <cstddef>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "fibrio/futures.hpp"
#include "task/callback.hpp"

namespace fibrio::detail {

// Whom a look at the call graph finds: futures, by reference. Its room is made beforehand: what does not fit
// is only counted.
class WaiterList {
 public:
  explicit WaiterList(std::size_t capacity) { found_.reserve(capacity); }
  void add(FutureState& waiting) noexcept {
    ++count_;
    if (found_.size() == found_.capacity()) return;
    waiting.add_ref();
    found_.emplace_back(&waiting);
  }
  // How many there were; more than were found: make more room and look again.
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] const std::vector<AnyFuture>& found() const noexcept { return found_; }

 private:
  std::vector<AnyFuture> found_;
  std::size_t count_ = 0;
};

// A done-callback without a closure, for who has a place for it. It is told once; then run() comes.
class FutureWatch : public FutureWaiter, public QueuedCallback {
 public:
  FutureWatch() noexcept : FutureWaiter(&told) {}
  FutureWatch(const FutureWatch&) = delete;
  FutureWatch& operator=(const FutureWatch&) = delete;

  // Keeps the future from now on.
  void hold(FutureState& future) noexcept {
    future.add_ref();
    future_ = &future;
  }
  // After hold: run() will come, on this strand if it is not null, in the next pass if the future is done
  // already, unless stop() is first.
  void start(const LoopIdentity& loop, StrandState* on) noexcept;
  // True: run() will not come. Only after start.
  [[nodiscard]] bool stop() noexcept { return future_->remove_waiter(*this); }
  [[nodiscard]] FutureState& future() const noexcept { return *future_; }
  // What waits by it for the future, while it is listed there, under the lock of that: the composition, or
  // the task itself.
  [[nodiscard]] virtual FutureState& waits_for_it() noexcept = 0;
  // The watch as which a future lists it; null if it is none.
  [[nodiscard]] static FutureWatch* of(FutureWaiter& waiter) noexcept {
    return waiter.on_done == &told ? &static_cast<FutureWatch&>(waiter) : nullptr;
  }
  // The reference that hold() took; the watch has none any more.
  [[nodiscard]] AnyFuture take_future() noexcept { return AnyFuture(std::exchange(future_, nullptr)); }

 protected:
  ~FutureWatch() {
    if (future_ != nullptr) future_->release();
  }

 private:
  static void told(FutureWaiter& waiter, FutureState& future) noexcept;

  FutureState* future_ = nullptr;
  LoopIdentity loop_;
};

class Composition : public FutureState {
 public:
  class Child final : public FutureWatch {
   public:
    explicit Child(Composition& owner) noexcept : owner_(owner) {}
    void run(bool drop) noexcept override;
    [[nodiscard]] FutureState& waits_for_it() noexcept override { return owner_; }
    Child* next_ready = nullptr;  // for the composition's use

   private:
    friend class Composition;
    Composition& owner_;
    bool is_started_ = false;
  };

  // A composition of `count` futures, with one reference. RuntimeError outside a task.
  template <class C, class... A>
  [[nodiscard]] static C* make(LoopIdentity loop, std::size_t count, A&&... arguments) {
    static_assert(alignof(C) >= alignof(Child) && sizeof(C) % alignof(Child) == 0);
    const std::size_t bytes = sizeof(C) + count * sizeof(Child);
    auto* memory = static_cast<std::byte*>(allocate(bytes));
    auto* made = ::new (static_cast<void*>(memory)) C(loop, std::forward<A>(arguments)...);
    made->children_ = reinterpret_cast<Child*>(memory + sizeof(C));
    made->size_ = count;
    made->bytes_ = bytes;
    for (std::size_t i = 0; i < count; ++i) ::new (static_cast<void*>(made->children_ + i)) Child(*made);
    return made;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Child& child(std::size_t index) noexcept { return children_[index]; }

  // Holds and watches a future.
  void watch(std::size_t index, FutureState& future) noexcept;
  [[nodiscard]] bool is_watched(std::size_t index) const noexcept { return children_[index].is_started_; }
  // Adds the tasks that wait for the composition without awaiting it.
  virtual void list_waiting(WaiterList&) noexcept {}
  // Takes back the watches that were not told yet.
  void detach() noexcept;

 protected:
  Composition(Kind kind, LoopIdentity loop) noexcept : FutureState(kind, loop.scheduler, loop.id) {}
  ~Composition() override;
  void destroy() noexcept override;

  // A child is done; in the pass after that.
  virtual void on_child(Child& child) noexcept = 0;

  // Makes it done, unless it is.
  void complete() noexcept;
  void complete_with(std::exception_ptr error) noexcept;

 private:
  Child* children_ = nullptr;
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;  // with the children
};

}  // namespace fibrio::detail
