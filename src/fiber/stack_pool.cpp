#include "fiber/stack_pool.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/check.hpp"
#include "fiber/stack_cache.hpp"
#include "fiber/stack_slab.hpp"

namespace fibrio::detail {

StackPool::StackPool(const StackPoolOptions& options) noexcept
    : slab_bytes_(options.slab_bytes), guard_(probe_guard_kind()) {}

StackPool::~StackPool() {
  FIBRIO_CHECK(caches_.empty(), "a stack cache outlives its pool");
  for (SizeClass& each : classes_) {
    FIBRIO_CHECK(each.taken_stacks == 0, "a fiber outlives the pool that its stack belongs to");
    for (IntrusiveList<StackSlab>* list : {&each.warm, &each.cold, &each.unused}) {
      while (StackSlab* slab = list->pop_front()) {
        // Refused only when the process is at its limit of mappings; then the kernel frees it at the end.
        static_cast<void>(unmap_slab(slab, slabs_));
      }
    }
  }
}

Stack* StackPool::acquire(std::size_t bytes) {
  StackFailure failure;
  Stack* stack = try_acquire(bytes, failure);
  if (stack == nullptr) throw StackLimitError(failure);
  return stack;
}

Stack* StackPool::try_acquire(std::size_t bytes, StackFailure& failure) noexcept {
  failure = {.bytes = bytes};
  int size_class = stack_class_of(bytes);
  if (size_class == kStackClasses) return nullptr;
  Stack* stack = nullptr;
  if (take(size_class, &stack, 1, failure) == 0) return nullptr;
  stack->place = StackPlace::kInUse;
  mark_stack_used(*stack);
  return stack;
}

void StackPool::release(Stack* stack) noexcept {
  FIBRIO_CHECK(stack->place == StackPlace::kInUse, "a stack is given back twice");
  mark_stack_unused(*stack);
  give(stack->size_class, &stack, 1);
}

std::size_t StackPool::take(int size_class, Stack** out, std::size_t wanted, StackFailure& failure) noexcept {
  SizeClass& from = classes_[static_cast<std::size_t>(size_class)];
  for (;;) {
    std::size_t taken;
    {
      std::lock_guard hold(from.lock);
      taken = take_locked(from, out, wanted);
    }
    if (taken == 0) {
      if (add_slab(size_class, failure)) continue;  // other threads may be faster: look again
      failed_.fetch_add(1, std::memory_order_relaxed);
      return 0;
    }
    std::size_t good = 0;
    while (good < taken && ensure_guard(*out[good], failure)) ++good;
    if (good == taken) return good;

    // No guard, no stack. What has none yet lies with the cold ones until somebody tries again.
    for (std::size_t i = taken; i > good; --i) {
      Stack* stack = out[i - 1];
      if (stack->guarded) {
        give(size_class, &stack, 1);
      } else {
        std::lock_guard hold(from.lock);
        put_cold_locked(from, stack);
        count_untrimmed_locked(from);
      }
    }
    if (good > 0) return good;
    failed_.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
}

std::size_t StackPool::take_locked(SizeClass& from, Stack** out, std::size_t wanted) noexcept {
  std::size_t taken = 0;
  // From the front while it has some: use gathers in few slabs, and the others become free as a whole.
  while (taken < wanted) {
    StackSlab* slab = from.warm.front();
    if (slab == nullptr) slab = from.cold.front();
    // An unused slab may go soon, and a fresh stack costs a guard: only for want of others.
    if (slab == nullptr && taken == 0) slab = from.unused.front();
    if (slab == nullptr) break;
    bool has_guarded = slab->warm_count + slab->cold_count > 0;
    if (!has_guarded && taken > 0) break;
    do {
      out[taken++] = take_from_locked(from, *slab);
    } while (taken < wanted && slab->warm_count + slab->cold_count > 0);
    // The fresh ones of a batch: of one slab.
    while (!has_guarded && taken < wanted && slab->first_fresh < slab->slots) {
      out[taken++] = take_from_locked(from, *slab);
    }
    relist_locked(from, *slab);
  }
  count_untrimmed_locked(from);
  return taken;
}

Stack* StackPool::take_from_locked(SizeClass& from, StackSlab& slab) noexcept {
  Stack* stack;
  if (slab.warm != nullptr) {
    stack = slab.warm;
    slab.warm = stack->next;
    slab.least_warm = std::min(slab.least_warm, --slab.warm_count);
    --from.warm_stacks;
  } else if (slab.cold != nullptr) {
    stack = slab.cold;
    slab.cold = stack->next;
    --slab.cold_count;
    --from.cold_stacks;
  } else {
    stack = slab.take_fresh();
  }
  if (slab.taken++ == 0 && slab.unmappable) --from.idle_slabs;
  slab.most_taken = std::max(slab.most_taken, slab.taken);
  ++from.taken_stacks;
  return stack;
}

void StackPool::give(int size_class, Stack* const* stacks, std::size_t count) noexcept {
  SizeClass& to = classes_[static_cast<std::size_t>(size_class)];
  std::lock_guard hold(to.lock);
  for (std::size_t i = 0; i < count; ++i) {
    Stack* stack = stacks[i];
    StackSlab& slab = *stack->slab;
    stack->place = StackPlace::kPooled;
    stack->next = slab.warm;
    slab.warm = stack;
    ++slab.warm_count;
    ++to.warm_stacks;
    if (--slab.taken == 0 && slab.unmappable) ++to.idle_slabs;
    --to.taken_stacks;
    if (slab.in != StackSlab::In::kWarm) relist_locked(to, slab);
  }
  count_untrimmed_locked(to);
}

void StackPool::put_cold_locked(SizeClass& to, Stack* stack) noexcept {
  StackSlab& slab = *stack->slab;
  stack->place = StackPlace::kPooled;
  stack->next = slab.cold;
  slab.cold = stack;
  ++slab.cold_count;
  ++to.cold_stacks;
  if (--slab.taken == 0 && slab.unmappable) ++to.idle_slabs;
  --to.taken_stacks;
  relist_locked(to, slab);
}

void StackPool::relist_locked(SizeClass& of, StackSlab& slab) noexcept {
  using In = StackSlab::In;
  In in = In::kNoList;
  if (slab.warm_count > 0) {
    in = In::kWarm;
  } else if (slab.cold_count > 0 || slab.first_fresh < slab.slots) {
    in = slab.taken == 0 ? In::kUnused : In::kCold;
  }
  // Else it has nothing to give; also when none is out, but all lie with the trimmer.
  if (in == slab.in) return;
  if (slab.in != In::kNoList) IntrusiveList<StackSlab>::remove(&slab);
  of.warm_slabs -= slab.in == In::kWarm;
  of.unused_slabs -= slab.in == In::kUnused;
  of.warm_slabs += in == In::kWarm;
  of.unused_slabs += in == In::kUnused;
  slab.in = in;
  // At the end: the front, from which is taken, stays the same.
  if (in == In::kWarm) of.warm.push_back(&slab);
  if (in == In::kCold) of.cold.push_back(&slab);
  if (in == In::kUnused) of.unused.push_back(&slab);
}

void StackPool::count_untrimmed_locked(SizeClass& of) noexcept {
  std::size_t spare_slabs = of.idle_slabs > 1 ? of.idle_slabs - 1 : 0;
  auto now = static_cast<std::int64_t>(of.warm_stacks + spare_slabs);
  std::int64_t before = std::exchange(of.untrimmed, now);
  if (now != before) untrimmed_.fetch_add(now - before, std::memory_order_relaxed);
}

bool StackPool::add_slab(int size_class, StackFailure& failure) noexcept {
  StackSlab* slab = make_slab(size_class, slab_bytes_, slabs_, failure);
  if (slab == nullptr) {
    failure.reserved_bytes = stats().reserved_bytes;
    return false;
  }
  SizeClass& to = classes_[static_cast<std::size_t>(size_class)];
  std::lock_guard hold(to.lock);
  ++to.slabs;
  ++to.idle_slabs;
  to.reserved_bytes += slab->bytes;
  relist_locked(to, *slab);
  count_untrimmed_locked(to);
  return true;
}

bool StackPool::ensure_guard(Stack& stack, StackFailure& failure) noexcept {
  if (stack.guarded) return true;
  failure.error = install_guard(stack, guard_, failure.call);
  if (failure.error != 0) {
    failure.reserved_bytes = stats().reserved_bytes;
    return false;
  }
  stack.guarded = true;
  return true;
}

bool StackPool::describe(const void* address, StackInfo& info) const noexcept {
  auto number = reinterpret_cast<std::uintptr_t>(address);
  return slabs_.find([&](const SlabTable::Entry& slab) {
    return number >= slab.base && describe_in_slab(slab, number, info);
  });
}

StackStats StackPool::stats() const noexcept {
  StackStats sum{};
  for (SizeClass& each : classes_) {
    std::lock_guard hold(each.lock);
    sum.in_use += each.taken_stacks;
    sum.warm += each.warm_stacks;
    sum.cold += each.cold_stacks;
    sum.slabs += each.slabs;
    sum.reserved_bytes += each.reserved_bytes;
  }
  {
    std::lock_guard hold(caches_lock_);
    for (StackCache* cache = caches_.front(); cache != nullptr; cache = caches_.next(cache)) {
      sum.cached += cache->cached();
    }
  }
  // Read one after another while others work: the difference may be off, but not below zero.
  sum.in_use -= std::min(sum.in_use, sum.cached);
  sum.failed = failed_.load(std::memory_order_relaxed);
  sum.guard = guard_.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace fibrio::detail
