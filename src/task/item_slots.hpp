// What: a list of items that come and go on one worker, mostly, and that anybody may look through: slots, which
// one owner takes and gives back without a locked instruction, and others give back with one.
//
// Threads: take, give_back: the owner (or who holds its lock). put: who has the slot. give_back_elsewhere: any.
// ItemLooks::look: one at a time, any thread.
//
// Protocol.
//  1. A slot's word is an item, or the next free slot with kFree. The owner has a list of free ones (LIFO: the last
//     one's line is in the cache) and takes over, all at once, what others have given back (returned_). So there
//     is no pop that another pop could overtake.
//  2. Who gives a slot back has replaced the item in it, and then waits if somebody looks (ItemLooks): an item is
//     not let go of while it may be looked at. The store of the slot and the look at looks_ here, the store of
//     looks_ and the looks into slots there: the two sides of an AsymmetricFence.
//  3. Slots are never given back to the allocator before the end: 8 bytes for each item there ever was at a time.
//
// Rejected: a doubly linked list under a lock per worker (a lock when an item comes and one when it goes, on a line
// that the workers which end each other's items take from each other: a tenth of what a task costs with two
// workers); an epoch per worker (an item's memory would be kept until all have moved on).
#pragma once

#include <sched.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "base/asymmetric_fence.hpp"
#include "base/atomic.hpp"
#include "base/sanitizers.hpp"

namespace fibrio::detail {

// Who looks, over all slots of a registry.
template <template <class> class Atomic = ElidingAtomic, class Fence = AsymmetricFence>
class ItemLooks {
 public:
  // Calls `visit` while no item that it may find is let go of.
  template <class Visit>
  void look(const Visit& visit) noexcept {
    const std::uint32_t look = looks_.load(std::memory_order_relaxed) + 1;
    // release, both: partners of the acquires in wait, for what this visit or the one before has read.
    looks_.store(look, std::memory_order_release);
    Fence::heavy();
    visit();
    looks_.store(look + 1, std::memory_order_release);
  }

  // After an item was taken out of its slot, and before it is let go of.
  void wait() const noexcept {
    Fence::light();
    const std::uint32_t look = looks_.load(std::memory_order_acquire);
    if ((look & 1) == 0) [[likely]]
      return;
    // This look to its end; a later one does not find the item.
    for (int looks = 0; looks_.load(std::memory_order_acquire) == look; ++looks) {
      spin_pause<Atomic>();
      if (looks % kLooksBeforeYield == kLooksBeforeYield - 1) ::sched_yield();
    }
  }

 private:
  static constexpr int kLooksBeforeYield = 64;  // as in SpinLock

  alignas(kCacheLine) Atomic<std::uint32_t> looks_{0};  // odd: somebody looks
};

// What the owner has, all tasks of its worker use in turn.
FIBRIO_NO_TSAN_BEGIN

inline constexpr std::size_t kLargestSlotChunk = 8192;

template <class Item, template <class> class Atomic = ElidingAtomic, std::size_t kFirstChunk = 32>
class ItemSlots {
 public:
  using Slot = Atomic<std::uintptr_t>;

  ItemSlots() = default;
  ItemSlots(const ItemSlots&) = delete;
  ItemSlots& operator=(const ItemSlots&) = delete;
  ~ItemSlots() {
    for (const Chunk* chunk = chunks_.load(std::memory_order_relaxed); chunk != nullptr;) {
      delete std::exchange(chunk, chunk->next);
    }
  }

  // Null: there is no memory.
  [[nodiscard]] Slot* take() noexcept {
    tsan_acquire(this);  // of grow, which another task of the worker may have called
    // acquire: partner of the release in give_back_elsewhere: the links.
    if (free_ == nullptr && returned_.load(std::memory_order_relaxed) != nullptr)
      free_ = returned_.exchange(nullptr, std::memory_order_acquire);
    if (free_ != nullptr) {
      Slot* const slot = free_;
      free_ = reinterpret_cast<Slot*>(slot->load(std::memory_order_relaxed) & ~kFree);
      return slot;
    }
    if (unused_ == unused_end_ && !grow()) return nullptr;
    return unused_++;
  }

  // release: partner of the acquire in for_each: the item is made.
  static void put(Slot& slot, Item& item) noexcept {
    slot.store(reinterpret_cast<std::uintptr_t>(&item), std::memory_order_release);
  }

  // Then: ItemLooks::wait, if there was an item in it.
  void give_back(Slot& slot) noexcept {
    slot.store(link(free_), std::memory_order_relaxed);
    free_ = &slot;
  }
  void give_back_elsewhere(Slot& slot) noexcept {
    Slot* old = returned_.load(std::memory_order_relaxed);
    do {
      slot.store(link(old), std::memory_order_relaxed);
      // release: partner of the acquire in take.
    } while (
        !returned_.compare_exchange_weak(old, &slot, std::memory_order_release, std::memory_order_relaxed));
  }

  // Within ItemLooks::look.
  template <class Visit>
  void for_each(const Visit& visit) const noexcept {
    // acquire: partner of the release in grow.
    for (const Chunk* chunk = chunks_.load(std::memory_order_acquire); chunk != nullptr;
         chunk = chunk->next) {
      for (std::size_t i = 0; i < chunk->size; ++i) {
        const std::uintptr_t word = chunk->slots[i].load(std::memory_order_acquire);
        if ((word & kFree) == 0) visit(*reinterpret_cast<Item*>(word));
      }
    }
  }

 private:
  static constexpr std::uintptr_t kFree = 1;

  struct Chunk {
    const std::size_t size;
    Chunk* const next;
    const std::unique_ptr<Slot[]> slots;
  };

  [[nodiscard]] static std::uintptr_t link(Slot* next) noexcept {
    return reinterpret_cast<std::uintptr_t>(next) | kFree;
  }

  [[nodiscard]] bool grow() noexcept {
    Chunk* const newest = chunks_.load(std::memory_order_relaxed);
    const std::size_t size = newest == nullptr ? kFirstChunk : std::min(2 * newest->size, kLargestSlotChunk);
    std::unique_ptr<Slot[]> slots(new (std::nothrow) Slot[size]);
    if (slots == nullptr) return false;
    for (std::size_t i = 0; i < size; ++i) slots[i].store(kFree, std::memory_order_relaxed);
    Slot* const begin = slots.get();
    auto* const chunk = new (std::nothrow) Chunk{size, newest, std::move(slots)};
    if (chunk == nullptr) return false;
    unused_ = begin;
    unused_end_ = begin + size;
    chunks_.store(chunk, std::memory_order_release);
    tsan_release(this);
    return true;
  }

  Slot* free_ = nullptr;
  Slot* unused_ = nullptr;  // of the newest chunk, those that were never taken
  Slot* unused_end_ = nullptr;
  Atomic<Chunk*> chunks_{nullptr};
  alignas(kCacheLine) Atomic<Slot*> returned_{nullptr};
};

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
