// The part of StackPool that gives memory back; protocol 4 and 5 of stack_pool.hpp.
#include <algorithm>
#include <array>
#include <mutex>

#include "fiber/stack_pool.hpp"
#include "fiber/stack_slab.hpp"

namespace fibrio::detail {

// One trim() in progress, with what was taken out of the lists and waits for its system calls.
struct StackPool::TrimPass {
  // So many slabs are looked at with the lock held: a few microseconds.
  static constexpr std::size_t kLook = 16;

  struct Discard {
    StackSlab* slab;
    Stack* chain;
  };

  std::int64_t now_ns;
  std::int64_t cold_after_ns;
  std::size_t budget;
  std::size_t trimmed = 0;
  std::array<Discard, kLook> discards;
  std::size_t discard_count = 0;
  std::array<StackSlab*, kLook> unmaps;
  std::size_t unmap_count = 0;
};

std::size_t StackPool::trim(std::int64_t now_ns, std::int64_t cold_after_ns,
                            std::size_t max_stacks) noexcept {
  if (!has_untrimmed() || !trim_lock_.try_lock()) return 0;
  TrimPass pass{};
  pass.now_ns = now_ns;
  // At least 1: a slab may get its turn twice in one call, and its new period must not be over then.
  pass.cold_after_ns = std::max<std::int64_t>(cold_after_ns, 1);
  pass.budget = max_stacks;
  for (SizeClass& each : classes_) trim_class(each, pass);
  trim_lock_.unlock();
  return pass.trimmed;
}

void StackPool::trim_class(SizeClass& of, TrimPass& pass) noexcept {
  std::size_t warm_left;
  std::size_t unused_left;
  {
    std::lock_guard hold(of.lock);
    warm_left = of.warm_slabs;
    unused_left = of.unused_slabs;
  }
  // Each list is turned once round: the next call goes on where this one ran out of budget.
  while (warm_left + unused_left > 0) {
    {
      std::lock_guard hold(of.lock);
      for (std::size_t i = 0; i < TrimPass::kLook && warm_left + unused_left > 0; ++i) {
        bool is_warm = warm_left > 0;
        IntrusiveList<StackSlab>& list = is_warm ? of.warm : of.unused;
        --(is_warm ? warm_left : unused_left);
        StackSlab* slab = list.front();
        if (slab == nullptr) continue;  // others took it meanwhile
        // Out of budget; what is new in the list still learns that its time runs.
        if (pass.trimmed >= pass.budget && slab->period_start_ns != StackSlab::kNoPeriod) {
          (is_warm ? warm_left : unused_left) = 0;
          continue;
        }
        list.remove(slab);
        list.push_back(slab);
        trim_slab_locked(of, *slab, pass);
      }
      count_untrimmed_locked(of);
    }
    finish_trim(of, pass);
  }
}

void StackPool::trim_slab_locked(SizeClass& of, StackSlab& slab, TrimPass& pass) noexcept {
  if (slab.period_start_ns == StackSlab::kNoPeriod) return slab.begin_period(pass.now_ns);
  if (pass.now_ns - slab.period_start_ns < pass.cold_after_ns) return;

  if (slab.most_taken == 0 && slab.unmappable && of.idle_slabs > 1) {
    IntrusiveList<StackSlab>::remove(&slab);
    --(slab.in == StackSlab::In::kWarm ? of.warm_slabs : of.unused_slabs);
    slab.in = StackSlab::In::kNoList;
    --of.idle_slabs;
    --of.slabs;
    of.reserved_bytes -= slab.bytes;
    of.warm_stacks -= slab.warm_count;
    of.cold_stacks -= slab.cold_count;
    pass.trimmed += slab.warm_count;
    pass.unmaps[pass.unmap_count++] = &slab;
    return;
  }
  if (slab.least_warm > 0) {
    Stack** link = &slab.warm;
    for (std::uint16_t i = slab.least_warm; i < slab.warm_count; ++i) link = &(*link)->next;
    pass.discards[pass.discard_count++] = {&slab, *link};
    *link = nullptr;
    slab.warm_count = static_cast<std::uint16_t>(slab.warm_count - slab.least_warm);
    of.warm_stacks -= slab.least_warm;
    pass.trimmed += slab.least_warm;
    relist_locked(of, slab);
  }
  slab.begin_period(pass.now_ns);
}

void StackPool::finish_trim(SizeClass& of, TrimPass& pass) noexcept {
  for (std::size_t i = 0; i < pass.discard_count; ++i) {
    auto [slab, chain] = pass.discards[i];
    discard_pages(*slab, chain);
    std::lock_guard hold(of.lock);
    while (chain != nullptr) {
      Stack* next = chain->next;
      chain->next = slab->cold;
      slab->cold = chain;
      ++slab->cold_count;
      ++of.cold_stacks;
      chain = next;
    }
    relist_locked(of, *slab);
  }
  for (std::size_t i = 0; i < pass.unmap_count; ++i) {
    StackSlab* slab = pass.unmaps[i];
    if (unmap_slab(slab, slabs_)) continue;
    // The process is at its limit of mappings. The slab stays, without its pages, and is not tried again.
    discard_pages(*slab, slab->warm);
    std::lock_guard hold(of.lock);
    while (slab->warm != nullptr) {
      Stack* stack = slab->warm;
      slab->warm = stack->next;
      stack->next = slab->cold;
      slab->cold = stack;
      ++slab->cold_count;
    }
    slab->warm_count = 0;
    slab->unmappable = false;
    ++of.slabs;
    of.reserved_bytes += slab->bytes;
    of.cold_stacks += slab->cold_count;
    slab->begin_period(pass.now_ns);
    relist_locked(of, *slab);
  }
  pass.discard_count = 0;
  pass.unmap_count = 0;
}

}  // namespace fibrio::detail
