// What: which workers sleep, and whom to wake when there is work: the idle protocol.
//
// Threads: every function, any worker; wake_for_work also threads outside the loop.
//
// Protocol. One word counts the awake workers, among them the searching ones, and how often a sleeper woke.
//  1. Who makes work visible first publishes it seq_cst (a queue's tail, the inject queue's size), then calls
//     wake_for_work, which loads the word seq_cst. It wakes one sleeper if none searches and somebody sleeps;
//     the woken one counts as searching from that moment, so a burst of pushes wakes one, not all.
//  2. A worker that gives up leaves the counts by one seq_cst RMW (park), and only then looks at every queue
//     once more (the caller does). It sleeps only if all are empty.
//  Proof that no work is left while all sleep: take the last publication and the last park. In the single
//  order of seq_cst operations either the park's RMW comes first: then the publisher's later load shows a
//  sleeper and no searcher, or a searcher, who by induction parks later and looks again; or the publication
//  comes first: then the parker's look sees it.
//  3. A searcher that finds work stops searching; if it was the last one (stop_searching returns true), it looks at
//     every queue, and wakes the next if there is more work than it takes. As in rule 2, either that look
//     sees a publication, or the publisher sees that nobody searches any more.
//  4. The list of sleepers is guarded by the lock and changes together with the awake count; a sleeper is
//     taken off exactly once, by a waker (take) or by itself (wake_self).
//  5. The look of rule 2 may be left to others if the park's own RMW shows that somebody searches: each
//     searcher counted at that moment either finds work, and the last of them wakes the next (rule 3), or
//     parks later and looks itself. (A worker that looked all the same would find what the searcher is about
//     to take, and spin for as long as that has no CPU.)
//  6. Nobody was awake from one moment to another if the word shows nobody awake, and is the same at both ends
//     (all_asleep_during). What somebody did who woke in between, as far as the caller's look saw it (a queue
//     he emptied, stored with release), comes after his RMW, so that the second load cannot be older than
//     that; and who has parked again has left his wake-up in the word.
//
// Rejected: an event count per worker (thundering herds); skipping the look at the word by a relaxed counter
// (brpc#2916, #3539: lost wake-ups); spinning for a while before parking (100 % CPU when idle).
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/atomic.hpp"
#include "base/spin_lock.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = std::atomic>
class IdleSet {
 public:
  // All workers awake, none searching.
  explicit IdleSet(std::size_t workers) : workers_(workers), asleep_(workers, 0) {
    sleepers_.reserve(workers);
    reset(workers);
  }
  IdleSet(const IdleSet&) = delete;
  IdleSet& operator=(const IdleSet&) = delete;

  // Only while no worker runs. A late waker from outside may still be about: the lock. Only the first `running`
  // workers take part: the others neither wake nor can be woken.
  void reset(std::size_t running) noexcept {
    std::lock_guard guard(lock_);
    sleepers_.clear();
    for (std::size_t i = 0; i < workers_; ++i) asleep_[i] = 0;
    word_.store(static_cast<std::uint64_t>(running) << kAwakeShift, std::memory_order_seq_cst);
  }

  static constexpr int kNobody = -1;

  // After a publication: the index of the worker to unpark, or kNobody.
  [[nodiscard]] int wake_for_work() noexcept {
    // seq_cst: rule 1; partner: the RMW in park.
    if (!wants_wake(word_.load(std::memory_order_seq_cst))) return kNobody;
    std::lock_guard guard(lock_);
    if (!wants_wake(word_.load(std::memory_order_seq_cst)) || sleepers_.empty()) return kNobody;
    const std::uint32_t sleeper = sleepers_.back();
    take_locked(sleepers_.size() - 1);
    word_.fetch_add(kOneWake + kOneAwake + kOneSearching, std::memory_order_seq_cst);
    return static_cast<int>(sleeper);
  }
  // A cheap look without the guarantee of rule 1: is it worth asking?
  [[nodiscard]] bool may_want_wake() const noexcept {
    return wants_wake(word_.load(std::memory_order_relaxed));
  }

  // False: enough search already (half of the workers).
  [[nodiscard]] bool start_searching() noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    if (2 * searching(word) >= workers_ && searching(word) > 0) return false;
    word_.fetch_add(kOneSearching, std::memory_order_seq_cst);
    return true;
  }
  // After it found work. True: it was the last one: if a look at every queue, after it, finds more, somebody else
  // should come (wake_for_work).
  [[nodiscard]] bool stop_searching() noexcept {
    return searching(word_.fetch_sub(kOneSearching, std::memory_order_seq_cst)) == 1;
  }

  // Goes to the sleepers. False: the caller must look at every queue after it and, if it finds work,
  // wake_self(). True: others search, and will look (rule 5).
  [[nodiscard]] bool park(std::size_t worker, bool was_searching) noexcept {
    std::lock_guard guard(lock_);
    asleep_[worker] = 1;
    sleepers_.push_back(static_cast<std::uint32_t>(worker));
    // seq_cst: rule 2; partner: the load in wake_for_work.
    const std::uint64_t before =
        word_.fetch_sub(kOneAwake + (was_searching ? kOneSearching : 0), std::memory_order_seq_cst);
    return searching(before) > (was_searching ? 1U : 0U);
  }
  // After the sleep. True: woken by itself (event, timer), it is just awake. False: a waker took it off, it
  // counts as searching.
  [[nodiscard]] bool wake_self(std::size_t worker) noexcept {
    std::lock_guard guard(lock_);
    if (asleep_[worker] == 0) return false;
    for (std::size_t i = 0; i < sleepers_.size(); ++i) {
      if (sleepers_[i] == worker) {
        take_locked(i);
        break;
      }
    }
    word_.fetch_add(kOneWake + kOneAwake, std::memory_order_seq_cst);
    return true;
  }

  // True if every worker slept from before `look()` to after it, and it returned true. `look` loads seq_cst.
  // For a worker that has parked: the last one that parks while nobody wakes gets an answer that counts.
  template <class Look>
  [[nodiscard]] bool all_asleep_during(Look&& look) const {
    const std::uint64_t before = word_.load(std::memory_order_seq_cst);
    return awake(before) == 0 && look() && word_.load(std::memory_order_seq_cst) == before;
  }

  [[nodiscard]] std::size_t awake() const noexcept { return awake(word_.load(std::memory_order_seq_cst)); }

 private:
  // Searching and awake: 16 bits each, enough for 1024 workers. Wake-ups: the upper half; it may wrap.
  static constexpr unsigned kAwakeShift = 16;
  static constexpr std::uint64_t kOneWake = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kOneSearching = 1;
  static constexpr std::uint64_t kOneAwake = std::uint64_t{1} << kAwakeShift;

  static std::uint32_t searching(std::uint64_t word) noexcept { return word & 0xffff; }
  static std::uint32_t awake(std::uint64_t word) noexcept { return (word >> kAwakeShift) & 0xffff; }
  [[nodiscard]] bool wants_wake(std::uint64_t word) const noexcept {
    return searching(word) == 0 && awake(word) < workers_;
  }
  void take_locked(std::size_t place) noexcept {
    asleep_[sleepers_[place]] = 0;
    sleepers_[place] = sleepers_.back();
    sleepers_.pop_back();
  }

  const std::size_t workers_;
  // Writers: all workers, by RMW; readers: everybody who publishes work.
  alignas(kCacheLine) Atomic<std::uint64_t> word_{0};
  alignas(kCacheLine) BasicSpinLock<Atomic> lock_;
  std::vector<std::uint32_t> sleepers_;  // the one that slept last is woken first: its cache is warmest
  std::vector<char> asleep_;             // not of bits: the loop goes through it at each sleep
};

}  // namespace fibrio::detail
