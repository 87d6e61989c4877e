#include "task/capture.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>

#include "base/fork_hold.hpp"
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

std::mutex table_lock;

struct Table {
  std::unordered_map<const FutureState*, std::unique_ptr<CreationSite>> sites;
  static Table& instance() {
    hold_over_forks<table_lock>();
    static Table& table = *new Table;  // a handle may outlive static objects
    return table;
  }
};

}  // namespace

std::vector<StackFrame> RawStack::frames() const { return frames_from(return_addresses, count); }

void capture_own(RawStack& stack, std::size_t limit) noexcept { capture(stack, limit, &walk_here); }

void capture_suspended(const Fiber& fiber, RawStack& stack) noexcept {
  capture(stack, RawStack::kAtMost,
          [&](Return* returns, std::size_t limit) { return walk_saved(fiber, returns, limit); });
}

CreationSite::CreationSite() noexcept {
  RawStack stack;
  capture_own(stack, kDepth);
  count_ = stack.count;
  std::copy_n(stack.return_addresses, stack.count, return_addresses_);
}

std::unique_ptr<CreationSite> CreationSite::capture(const Scheduler& scheduler) noexcept {
  if (!scheduler.is_debugging()) [[likely]]
    return nullptr;
  return std::unique_ptr<CreationSite>(new (std::nothrow) CreationSite);
}

bool CreationSite::remember(const FutureState& future) noexcept {
  try {
    std::unique_ptr<CreationSite> site(new CreationSite);
    Table& table = Table::instance();
    std::lock_guard guard(table_lock);
    table.sites[&future] = std::move(site);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

const CreationSite* CreationSite::of(const FutureState& future) noexcept {
  Table& table = Table::instance();
  std::lock_guard guard(table_lock);
  return table.sites.find(&future)->second.get();
}

void CreationSite::forget(const FutureState& future) noexcept {
  Table& table = Table::instance();
  std::lock_guard guard(table_lock);
  table.sites.erase(&future);
}

std::vector<StackFrame> CreationSite::frames_of(const CreationSite* site) {
  if (site == nullptr) return {};
  return user_frames(frames_from(site->return_addresses_, site->count_), LibraryCall::kHide);
}

}  // namespace fibrio::detail
