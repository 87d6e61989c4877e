#include "task/capture.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "fiber/walk.hpp"
#include "sched/scheduler.hpp"
#include "task/loop_services.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {
namespace {

// Where every task's part of its stack ends.
const void* begin_of_task() noexcept {
  static const void* const kBegin = [] {
    void (TaskControl::*run)() noexcept = &TaskControl::run;
    const void* address = nullptr;
    std::memcpy(&address, &run, sizeof address);  // the Itanium ABI's pointer to a member begins with it
    return begin_of(address);
  }();
  return kBegin;
}

template <class WalkStack>
void capture(RawStack& stack, std::size_t limit, WalkStack walk) noexcept {
  Return returns[RawStack::kAtMost];
  const std::size_t count = walk(returns, limit);
  const void* const outermost = begin_of_task();
  stack.count = 0;
  while (stack.count < count && returns[stack.count].function != outermost) {
    stack.return_addresses[stack.count] = returns[stack.count].address;
    ++stack.count;
  }
}

std::vector<StackFrame> frames_from(const void* const* return_addresses, std::size_t count) {
  std::vector<StackFrame> frames;
  frames.reserve(count);
  for (std::size_t i = 0; i < count; ++i) frames.emplace_back(return_addresses[i]);
  return frames;
}

}  // namespace

std::vector<StackFrame> RawStack::frames() const { return frames_from(return_addresses, count); }

void capture_own(RawStack& stack, std::size_t limit) noexcept { capture(stack, limit, &walk_here); }

void capture_suspended(const Fiber& fiber, RawStack& stack) noexcept {
  capture(stack, RawStack::kAtMost,
          [&](Return* returns, std::size_t limit) { return walk_saved(fiber, returns, limit); });
}

std::unique_ptr<CreationSite> CreationSite::capture(const Scheduler* scheduler) noexcept {
  if (scheduler == nullptr || !scheduler->is_debugging()) [[likely]]
    return nullptr;
  std::unique_ptr<CreationSite> site(new (std::nothrow) CreationSite);
  if (site == nullptr) return nullptr;
  RawStack stack;
  capture_own(stack, kDepth);
  site->count_ = stack.count;
  std::copy_n(stack.return_addresses, stack.count, site->return_addresses_);
  return site;
}

std::vector<StackFrame> CreationSite::frames_of(const CreationSite* site) {
  if (site == nullptr) return {};
  return user_frames(frames_from(site->return_addresses_, site->count_), LibraryCall::kHide);
}

}  // namespace fibrio::detail
