// What: the one atomic word for which completion, timeout and cancellation of a task's wait race (design,
// D3), together with the task's counted cancellation requests.
//
// Threads: arm, take_cancellation, finish, finish_anyway: the task (or who runs its commit). The rest: any.
//
// Protocol. The phase says what the task does:
//   running   not suspended in a wait that can be resolved (or resolved already)
//   waiting   a waiter of its own is listed somewhere; resolve() or request_cancel() ends the wait
//   awaiting  it waits for a future; only resolve() ends the wait, a cancel is passed on to that future
//   masked    as waiting, but a cancel only leaves its request
//  1. arm: running -> waiting | awaiting | masked, after the fiber's context was saved. Exactly one
//     transition back to running wins; who wins makes the task ready, once. Everybody else learns that he
//     lost.
//  2. A request is counted and recorded in the same step, so that uncancel() to zero and a new cancel()
//     cannot lose each other. kPending counts those to be delivered, by one CancelledError, at the next wait;
//     kCancelled: one ended the present wait. kEpoch moves with every delivery, so that whoever made a
//     request can tell whether it is still among the pending ones (withdraw).
//  3. awaiting + cancel: the word is locked for the few instructions in which the canceller takes a reference
//     on the awaited future; resolve() waits for that, so the future cannot go away in between.
//     hold() locks any suspended task's word in the same way, while somebody reads its stack.
//  4. After finish nothing changes but what is read: cancel() == true means the counter rose before it.
// Every change is one compare-and-swap, acq_rel: who resolves publishes what it wrote for the task (partner:
// the task's loads after it was resumed), who arms publishes its waiter (partner: the resolver's acquire).
//
// Rejected: separate words for count and state (C06: a new request could be lost between the two); a ticket
// per wait (every source of wake-ups detaches, under its own lock, before the wait returns, so none can be
// stale).
#pragma once

#include <cstdint>

#include "base/atomic.hpp"
#include "base/check.hpp"

namespace fibrio::detail {

enum class WaitPhase : std::uint8_t { running = 0, waiting = 1, awaiting = 2, masked = 3 };

template <template <class> class Atomic = ElidingAtomic>
class WaitWord {
 public:
  enum class [[nodiscard]] Armed : std::uint8_t{
      armed,      // suspended for good
      cancelled,  // a request was pending and has ended this wait: make the task ready
      requested,  // (awaiting) armed; a request was pending and is taken: cancel the future
  };
  Armed arm(WaitPhase phase) noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      FIBRIO_DCHECK(phase_of(old) == WaitPhase::running, "a task waits twice at once");
      std::uint64_t now = 0;
      Armed result = Armed::armed;
      if ((old & kPending) != 0 && phase == WaitPhase::waiting) {
        now = delivered(old) | kCancelled;
        result = Armed::cancelled;
      } else if ((old & kPending) != 0 && phase == WaitPhase::awaiting) {
        now = delivered(old) | static_cast<std::uint64_t>(phase);
        result = Armed::requested;
      } else {
        now = old | static_cast<std::uint64_t>(phase);
      }
      if (change(old, now)) return result;
    }
  }

  // Ends the wait. True: the caller won and must make the task ready.
  [[nodiscard]] bool resolve() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      if (phase_of(old) == WaitPhase::running) return false;
      if (wait_if_locked(old)) continue;
      if (change(old, old & ~kPhase)) return true;
    }
  }

  // Ends any wait, also an awaiting one, as cancelled; for a cycle of awaiting tasks. True: make it ready.
  [[nodiscard]] bool resolve_as_cancelled() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      if (phase_of(old) == WaitPhase::running) return false;
      if (wait_if_locked(old)) continue;
      if (change(old, (old & ~kPhase) | kCancelled)) return true;
    }
  }

  enum class [[nodiscard]] Cancel : std::uint8_t{
      finished,  // too late
      recorded,  // will be delivered at the task's next wait
      resolved,  // its wait has ended: make it ready
      forward,   // the word is locked: take a reference on the awaited future, unlock(), cancel that
  };
  // `epoch` learns in which one the request came: for withdraw().
  Cancel request_cancel(std::uint32_t* epoch = nullptr) noexcept { return ask(kOneRequest, epoch); }
  // The same for a request that is counted already, and was passed on to something that was done by then: the task
  // may be in another wait meanwhile. If it was taken back it is gone (recorded).
  Cancel renew_request(std::uint32_t* epoch = nullptr) noexcept { return ask(0, epoch); }

 private:
  Cancel ask(std::uint64_t counted, std::uint32_t* epoch) noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      if ((old & kFinished) != 0) return Cancel::finished;
      if (wait_if_locked(old)) continue;
      std::uint64_t now = old + counted;
      if (count_of(now) == 0) return Cancel::recorded;
      Cancel result = Cancel::recorded;
      switch (phase_of(old)) {
        case WaitPhase::running:
        case WaitPhase::masked:
          now = with_pending(now);
          break;
        case WaitPhase::waiting:
          now = (now & ~kPhase) | kCancelled;
          result = Cancel::resolved;
          break;
        case WaitPhase::awaiting:
          now |= kLocked;
          result = Cancel::forward;
          break;
      }
      if (!change(old, now)) continue;
      if (epoch != nullptr) *epoch = epoch_of(old);
      return result;
    }
  }

 public:
  // Instead of unlock(): what the task awaits is done, so the request is delivered when it resumes.
  void record_and_unlock() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    while (!change(old, (count_of(old) == 0 ? old : with_pending(old)) & ~kLocked)) {
    }
  }
  // Keeps a suspended task suspended until unlock(), for who looks at its stack: whoever would end its wait
  // spins. False: it is not suspended in a wait. acquire: partner of arm: its context is saved.
  [[nodiscard]] bool hold() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      if (phase_of(old) == WaitPhase::running) return false;
      if (wait_if_locked(old)) continue;
      if (change(old, old | kLocked)) return true;
    }
  }
  // release: partner of the acquire in the next change().
  void unlock() noexcept { word_.fetch_and(~kLocked, std::memory_order_release); }

  // By the task, or while nobody else can end its wait: makes a request that is counted already pending again,
  // unless it was taken back meanwhile.
  void record_request() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    while (count_of(old) != 0 && !change(old, with_pending(old))) {
    }
  }
  // By the task: a request is recorded and not delivered yet.
  [[nodiscard]] bool is_requested() const noexcept {
    return (word_.load(std::memory_order_acquire) & kPending) != 0;
  }

  // By the task, after a wait: true if CancelledError is to be thrown now.
  [[nodiscard]] bool take_cancellation() noexcept {
    if ((word_.load(std::memory_order_acquire) & (kPending | kCancelled)) == 0) [[likely]]
      return false;
    mark_delivered();
    return true;
  }
  // By the task, after an await: a request was passed on to the future, and has had its effect there.
  void note_delivery() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    while (!change(old, next_epoch(old))) {
    }
  }
  // True if the wait that just ended was ended by a cancel.
  [[nodiscard]] bool was_cancelled() const noexcept {
    return (word_.load(std::memory_order_acquire) & kCancelled) != 0;
  }

  // Takes one request back; returns how many are left. At zero an undelivered one is dropped.
  std::uint32_t uncancel() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      if (count_of(old) == 0) return 0;
      std::uint64_t now = old - kOneRequest;
      if (count_of(now) == 0) now &= ~kPending;
      if (change(old, now)) return count_of(now);
    }
  }
  // By the task: takes back a request that one of its scopes (a timeout, a task group) made, in that epoch.
  // If it is pending still it will not be delivered; other requests are left as they are. Returns how many
  // are left.
  std::uint32_t withdraw(std::uint32_t epoch) noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      if (count_of(old) == 0) return 0;
      std::uint64_t now = old - kOneRequest;
      if (count_of(now) == 0) {
        now &= ~kPending;
      } else if ((now & kPending) != 0 && epoch_of(now) == epoch) {
        now -= kOnePending;
      }
      if (change(old, now)) return count_of(now);
    }
  }
  [[nodiscard]] std::uint32_t count() const noexcept {
    return count_of(word_.load(std::memory_order_acquire));
  }

  // The last step of a task that returned. False: a request came first, the task ends as cancelled.
  [[nodiscard]] bool finish() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    while (!change(old, old | kFinished)) {
    }
    return (old & kPending) == 0;
  }

  [[nodiscard]] WaitPhase phase() const noexcept { return phase_of(word_.load(std::memory_order_acquire)); }

 private:
  static constexpr std::uint64_t kPhase = 3;
  static constexpr std::uint64_t kCancelled = 8;
  static constexpr std::uint64_t kFinished = 16;
  static constexpr std::uint64_t kLocked = 32;
  // 12 bits each. More pending requests than that are one request less to withdraw; an epoch could come again
  // only after 4096 deliveries within one scope that has expired.
  static constexpr std::uint64_t kOnePending = std::uint64_t{1} << 8;
  static constexpr std::uint64_t kPending = 0xfff * kOnePending;
  static constexpr unsigned kEpochShift = 20;
  static constexpr std::uint64_t kEpoch = std::uint64_t{0xfff} << kEpochShift;
  static constexpr unsigned kCountShift = 32;
  static constexpr std::uint64_t kOneRequest = std::uint64_t{1} << kCountShift;

  // By the task. Not inline: each wait has its look before, few get here.
  [[gnu::noinline, gnu::cold]] void mark_delivered() noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    while (!change(old, delivered(old) & ~kCancelled)) {
    }
  }

  static WaitPhase phase_of(std::uint64_t word) noexcept { return static_cast<WaitPhase>(word & kPhase); }
  static std::uint32_t count_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word >> kCountShift);
  }

  static std::uint32_t epoch_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>((word & kEpoch) >> kEpochShift);
  }
  static std::uint64_t next_epoch(std::uint64_t word) noexcept {
    return (word & ~kEpoch) | ((word + (std::uint64_t{1} << kEpochShift)) & kEpoch);
  }
  static std::uint64_t with_pending(std::uint64_t word) noexcept {
    return (word & kPending) == kPending ? word : word + kOnePending;
  }
  // All that is pending is delivered, by one CancelledError.
  static std::uint64_t delivered(std::uint64_t word) noexcept { return next_epoch(word) & ~kPending; }

  [[nodiscard]] bool change(std::uint64_t& old, std::uint64_t now) noexcept {
    return word_.compare_exchange_weak(old, now, std::memory_order_acq_rel, std::memory_order_relaxed);
  }
  // Locked for a reference count's time, or that of a look at a stack: look again.
  [[nodiscard]] bool wait_if_locked(std::uint64_t& old) noexcept {
    if ((old & kLocked) == 0) [[likely]]
      return false;
    old = wait_until_unlocked();
    return true;
  }
  // Not inline: those who find it free need not save registers for it.
  [[nodiscard, gnu::noinline]] std::uint64_t wait_until_unlocked() const noexcept {
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    for (SpinWait<Atomic> wait; (seen & kLocked) != 0; seen = word_.load(std::memory_order_relaxed))
      wait.pause();
    return seen;
  }

  // Writers and readers: the task, wakers, cancellers.
  Atomic<std::uint64_t> word_{0};
};

}  // namespace fibrio::detail
