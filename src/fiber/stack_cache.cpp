#include "fiber/stack_cache.hpp"

#include <mutex>

#include "base/check.hpp"
#include "fiber/stack_slab.hpp"

namespace fibrio::detail {

StackCache::StackCache(StackPool& pool) noexcept : pool_(pool) {
  std::lock_guard hold(pool_.caches_lock_);
  pool_.caches_.push_back(this);
}

StackCache::~StackCache() {
  give_back_all();
  std::lock_guard hold(pool_.caches_lock_);
  pool_.caches_.remove(this);
}

Stack* StackCache::acquire(std::size_t bytes) {
  StackFailure failure;
  Stack* stack = try_acquire(bytes, failure);
  if (stack == nullptr) throw StackLimitError(failure);
  return stack;
}

Stack* StackCache::try_acquire(std::size_t bytes, StackFailure& failure) noexcept {
  int size_class = stack_class_of(bytes);
  if (size_class == kStackClasses) {
    failure = {.bytes = bytes};
    return nullptr;
  }
  Bin& bin = bins_[static_cast<std::size_t>(size_class)];
  if (bin.count == 0) {
    failure = {.bytes = bytes};
    if (!refill(size_class, failure)) return nullptr;
  }
  Stack* stack = bin.stacks[--bin.count];
  bin.least = std::min(bin.least, bin.count);
  add_cached(-1);
  stack->place = StackPlace::kInUse;
  mark_stack_used(*stack);
  return stack;
}

void StackCache::release(Stack* stack) noexcept {
  FIBRIO_CHECK(stack->place == StackPlace::kInUse, "a stack is given back twice");
  Bin& bin = bins_[stack->size_class];
  std::size_t capacity = capacity_of(stack->size_class);
  if (bin.count == capacity) give_back_coldest(stack->size_class, capacity / 2);
  mark_stack_unused(*stack);
  stack->place = StackPlace::kCached;
  bin.stacks[bin.count++] = stack;
  add_cached(1);
}

bool StackCache::refill(int size_class, StackFailure& failure) noexcept {
  Bin& bin = bins_[static_cast<std::size_t>(size_class)];
  std::size_t taken = pool_.take(size_class, bin.stacks.data(), capacity_of(size_class) / 2, failure);
  if (taken == 0) return false;
  // The pool's hottest comes first, ours goes out last first.
  std::reverse(bin.stacks.begin(), bin.stacks.begin() + static_cast<std::ptrdiff_t>(taken));
  for (std::size_t i = 0; i < taken; ++i) bin.stacks[i]->place = StackPlace::kCached;
  bin.count = static_cast<std::uint32_t>(taken);
  add_cached(static_cast<std::ptrdiff_t>(taken));
  return true;
}

void StackCache::give_back_coldest(int size_class, std::size_t count) noexcept {
  Bin& bin = bins_[static_cast<std::size_t>(size_class)];
  pool_.give(size_class, bin.stacks.data(), count);
  std::copy(bin.stacks.begin() + static_cast<std::ptrdiff_t>(count), bin.stacks.begin() + bin.count,
            bin.stacks.begin());
  bin.count -= static_cast<std::uint32_t>(count);
  bin.least = std::min(bin.least, bin.count);
  add_cached(-static_cast<std::ptrdiff_t>(count));
}

std::size_t StackCache::give_back_cold(std::int64_t now_ns, std::int64_t cold_after_ns) noexcept {
  bool is_over = period_start_ns_ != kNoPeriod && now_ns - period_start_ns_ >= cold_after_ns;
  if (!is_over && period_start_ns_ != kNoPeriod) return 0;
  std::size_t given = 0;
  for (int size_class = 0; size_class < kStackClasses; ++size_class) {
    Bin& bin = bins_[static_cast<std::size_t>(size_class)];
    if (is_over && bin.least > 0) {
      given += bin.least;
      give_back_coldest(size_class, bin.least);
    }
    bin.least = bin.count;
  }
  period_start_ns_ = now_ns;
  return given;
}

void StackCache::give_back_all() noexcept {
  for (int size_class = 0; size_class < kStackClasses; ++size_class) {
    std::size_t count = bins_[static_cast<std::size_t>(size_class)].count;
    if (count > 0) give_back_coldest(size_class, count);
  }
}

}  // namespace fibrio::detail
