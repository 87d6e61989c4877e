// What: the word of a future: pending with a list of waiters, or done. Templated over the atomic type for the
// model checker; FutureState holds the word.
//
// Threads: any.
//
// Protocol. The word is a pointer to the newest waiter, or'ed with kLocked and kClaimed; or kDone alone.
//  1. add pushes by compare-and-swap; it fails once kDone is set: a waiter is listed or learns "done", never
//  neither.
//     (A waiter that was removed and pushed again between another's load and swap does no harm: what the
//     other linked itself before is the top again.)
//  2. The lock is taken to complete or to remove; whoever wants to change the list or the state meanwhile spins. So
//     no user code runs under it.
//     One producer that holds the lock stores the outcome and then finishes: store of kDone, release.
//     The value is only read after an acquire load that saw kDone.
//     A value whose move is code of the user's, which may wait, or come to this very future, is moved in by the one
//     producer that has claimed the word; the list goes on meanwhile. Other producers and cancels are too late from the
//     claim on. An unclaimed word is as before.
//  3. finish returns the whole list; each waiter is told exactly once, oldest first, by the completer. A
//     waiter that remove() found is never told.
//
// Rejected: a mutex per future (40 bytes); a second word for the producers' race.
#pragma once

#include <cstdint>

#include "base/atomic.hpp"
#include "base/check.hpp"
#include "fibrio/detail/future_state.hpp"

namespace fibrio::detail {

template <template <class> class Atomic, class Waiter = FutureWaiter>
struct FutureWord {
  using Word = Atomic<std::uintptr_t>;
  static constexpr std::uintptr_t kLocked = FutureState::kLocked;
  static constexpr std::uintptr_t kDone = FutureState::kDone;
  static constexpr std::uintptr_t kClaimed = FutureState::kClaimed;
  static_assert(alignof(Waiter) > kClaimed);

  // False: done already.
  [[nodiscard]] static bool add(Word& word, Waiter& waiter) noexcept {
    // acquire: partner of finish, for who learns "done" here.
    std::uintptr_t old = word.load(std::memory_order_acquire);
    for (SpinWait<Atomic> wait;;) {
      if ((old & kDone) != 0) return false;
      if ((old & kLocked) != 0) {
        wait.pause();
        old = word.load(std::memory_order_acquire);
        continue;
      }
      waiter.next = reinterpret_cast<Waiter*>(old & ~kClaimed);
      // release: partner of lock's acquire: who takes the list sees the waiter.
      if (word.compare_exchange_weak(old, reinterpret_cast<std::uintptr_t>(&waiter) | (old & kClaimed),
                                     std::memory_order_release, std::memory_order_acquire)) {
        return true;
      }
    }
  }

  // To complete it: locks a pending future; false if it is done, or claimed by somebody else.
  [[nodiscard]] static bool lock(Word& word) noexcept { return set(word, kLocked, kDone | kClaimed); }
  // To change or to read its list; false if it is done.
  [[nodiscard]] static bool lock_list(Word& word) noexcept { return set(word, kLocked, kDone); }
  // To complete it with what is moved in after this; false if it is done, or claimed by somebody else. Then lock_claimed,
  // or unclaim.
  [[nodiscard]] static bool claim(Word& word) noexcept { return set(word, kClaimed, kDone | kClaimed); }
  // By who has claimed it.
  static void lock_claimed(Word& word) noexcept { static_cast<void>(set(word, kLocked, kDone)); }

  // The list of a locked future, newest first.
  [[nodiscard]] static Waiter* list(const Word& word) noexcept {
    return reinterpret_cast<Waiter*>(word.load(std::memory_order_relaxed) & ~(kLocked | kClaimed));
  }
  static void unlock(Word& word, Waiter* list) noexcept {
    word.store(reinterpret_cast<std::uintptr_t>(list), std::memory_order_release);
  }
  // After lock_list.
  static void unlock_list(Word& word, Waiter* list) noexcept {
    const std::uintptr_t claim = word.load(std::memory_order_relaxed) & kClaimed;
    word.store(reinterpret_cast<std::uintptr_t>(list) | claim, std::memory_order_release);
  }
  // The last step of a completion, under the lock: publishes it, returns the waiters, newest first.
  [[nodiscard]] static Waiter* finish(Word& word) noexcept {
    Waiter* waiters = list(word);
    word.store(kDone, std::memory_order_release);
    return waiters;
  }

  // Takes the first waiter for which `matches` is true off the list; null if there is none, or it is done.
  template <class Matches>
  [[nodiscard]] static Waiter* remove(Word& word, Matches matches) noexcept {
    if (!lock_list(word)) return nullptr;
    Waiter* head = list(word);
    Waiter* found = nullptr;
    Waiter** place = &head;
    while (*place != nullptr && found == nullptr) {
      if (matches(**place)) {
        found = *place;
        *place = found->next;
      } else {
        place = &(*place)->next;
      }
    }
    unlock_list(word, head);
    return found;
  }

  [[nodiscard]] static Waiter* reversed(Waiter* newest_first) noexcept {
    Waiter* oldest_first = nullptr;
    while (newest_first != nullptr) {
      Waiter* next = newest_first->next;
      newest_first->next = oldest_first;
      oldest_first = newest_first;
      newest_first = next;
    }
    return oldest_first;
  }

 private:
  // Sets `bit` in a word that is not locked; false if one of `too_late` is set.
  [[nodiscard]] static bool set(Word& word, std::uintptr_t bit, std::uintptr_t too_late) noexcept {
    std::uintptr_t old = word.load(std::memory_order_relaxed);
    for (SpinWait<Atomic> wait;;) {
      if ((old & too_late) != 0) return false;
      if ((old & kLocked) != 0) {
        wait.pause();
        old = word.load(std::memory_order_relaxed);
        continue;
      }
      // acquire: partner of add's release, and of unlock's.
      if (word.compare_exchange_weak(old, old | bit, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    }
  }
};

}  // namespace fibrio::detail
