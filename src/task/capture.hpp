// What: stacks as tasks have them: captured from what the user's callable called on; and where, in debug
// mode, something was made.
//
// Threads: of the caller's own stack: any. Of a suspended task's: who keeps it suspended.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "fiber/switch.hpp"
#include "fibrio/stack_frame.hpp"

namespace fibrio::detail {

class FutureState;
class Scheduler;

// Addresses alone: may be captured where nothing may be allocated.
struct RawStack {
  static constexpr std::size_t kAtMost = 100;  // frames; enough to see what recurses
  std::size_t count = 0;
  const void* return_addresses[kAtMost];

  [[nodiscard]] std::vector<StackFrame> frames() const;
};

// Fills `stack`, innermost frame first, with at most `limit` frames.
void capture_own(RawStack& stack, std::size_t limit = RawStack::kAtMost) noexcept;
void capture_suspended(const Fiber& fiber, RawStack& stack) noexcept;

// Where a task, a future or a callback was made.
class CreationSite {
 public:
  // Null if the loop is not in debug mode, or there is no memory.
  [[nodiscard]] static std::unique_ptr<CreationSite> capture(const Scheduler& scheduler) noexcept;
  // Those of futures and tasks are kept in a table of the process, so that a future has no room for one when
  // there is no debug mode. False: there is no memory.
  [[nodiscard]] static bool remember(const FutureState& future) noexcept;
  [[nodiscard]] static const CreationSite* of(const FutureState& future) noexcept;
  static void forget(const FutureState& future) noexcept;

  // The user's part of it; empty for null.
  [[nodiscard]] static std::vector<StackFrame> frames_of(const CreationSite* site);

 private:
  CreationSite() noexcept;

  static constexpr std::size_t kDepth = 16;  // asyncio has 10; here the templates' frames count too
  std::size_t count_ = 0;
  const void* return_addresses_[kDepth];
};

}  // namespace fibrio::detail
