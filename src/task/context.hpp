// What: the context of a task, a callback or a plain thread.
//
// Threads: ContextSlot: its owner's. ContextState: any, as two tasks may have been given one context.
//
// Invariant: a map is never changed once it is shared: setting a variable makes a new one. So a copy of a
// context, as every task has one, is a reference to a map; no map, no cost. A context proper (ContextState) is
// made only when somebody asks for one: copy_context(), TaskOptions::context, Context::run.
//
// Rejected: a map that shares its parts (as CPython's): programs have few variables, and set them seldom.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/spin_lock.hpp"
#include "fibrio/context_vars.hpp"

namespace fibrio::detail {

struct ContextEntry {
  std::uint64_t variable;
  ContextValue value;
};
// Ordered by variable.
using ContextMap = std::vector<ContextEntry>;
using ContextMapRef = std::shared_ptr<const ContextMap>;

class ContextState {
 public:
  explicit ContextState(ContextMapRef map) noexcept : map_(std::move(map)), has_map_(map_ != nullptr) {}

  [[nodiscard]] ContextMapRef map() const noexcept;
  [[nodiscard]] bool has_map() const noexcept { return has_map_.load(std::memory_order_relaxed); }
  void set_map(ContextMapRef map) noexcept;
  // Context::run: one at a time.
  [[nodiscard]] bool enter() noexcept { return !entered_.exchange(true, std::memory_order_acquire); }
  void leave() noexcept { entered_.store(false, std::memory_order_release); }

 private:
  mutable SpinLock lock_;
  ContextMapRef map_;                 // guarded by lock_; null: empty
  std::atomic<bool> has_map_;         // relaxed: who set the map shows it to others by other means
  std::atomic<bool> entered_{false};  // acquire and release: one run after the other
};

// Where something finds its variables: a task, a callback, a thread. Empty it costs a pointer and no time.
class ContextSlot {
 public:
  [[nodiscard]] ContextMapRef map() const noexcept;
  void set_map(ContextMapRef map);
  // The context proper it is in; null: none.
  [[nodiscard]] std::shared_ptr<ContextState> entered() const noexcept;
  // Returns the one it was in before.
  std::shared_ptr<ContextState> enter(std::shared_ptr<ContextState> context);

  // A copy of its values, for what is started from here.
  [[nodiscard]] ContextSlot copy() const { return has_values() ? copy_used() : ContextSlot(); }
  // False: a copy would be empty.
  [[nodiscard]] bool has_values() const noexcept { return used_ != nullptr && used_->has_map(); }
  // False: there is nothing to clear.
  [[nodiscard]] bool is_used() const noexcept { return used_ != nullptr; }
  void clear() noexcept { used_.reset(); }

 private:
  struct Used {
    ContextMapRef own;  // if it is in no context proper; null: empty
    std::shared_ptr<ContextState> entered;
    [[nodiscard]] bool has_map() const noexcept {
      return entered != nullptr ? entered->has_map() : own != nullptr;
    }
  };
  [[nodiscard]] ContextSlot copy_used() const;
  [[nodiscard]] Used& use();

  std::unique_ptr<Used> used_;
};

// Of the running task or callback, or of the calling plain thread.
[[nodiscard]] ContextSlot& current_context();
// A copy of it.
[[nodiscard]] ContextSlot copy_current_context();

// The caller sees the values of another context, of which this is a copy, while it lives.
class BorrowedContext {
 public:
  explicit BorrowedContext(const ContextSlot& from)
      : slot_(current_context()), before_(std::exchange(slot_, from.copy())) {}
  ~BorrowedContext() { slot_ = std::move(before_); }
  BorrowedContext(const BorrowedContext&) = delete;
  BorrowedContext& operator=(const BorrowedContext&) = delete;

 private:
  ContextSlot& slot_;
  ContextSlot before_;
};

}  // namespace fibrio::detail
