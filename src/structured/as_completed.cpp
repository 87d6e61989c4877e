// What: the queue behind as_completed.
//
// Threads: take: tasks, several at once. The children's watches run on any worker, the timer too.
//
// Protocol. One lock guards the queue of the done, the tasks that wait for them, and the numbers.
//  1. A reader takes its turn (left_) before it waits, so there are never more readers than futures to come.
//     If it is cancelled it gives the turn back, and wakes the next reader if it was woken for something (the
//     hand-on rule).
//  2. When the time is up no more is queued; each reader that finds nothing throws.
//
// Rejected: handing the future to the woken reader (a reader that is cancelled after that would lose it).
#include <atomic>
#include <mutex>
#include <utility>

#include "base/spin_lock.hpp"
#include "fibrio/detail/composing.hpp"
#include "fibrio/errors.hpp"
#include "sched/worker.hpp"
#include "structured/composition.hpp"
#include "structured/expiry.hpp"
#include "structured/parking.hpp"

namespace fibrio::detail {

class Completions final : public Composition {
 public:
  Completions(LoopIdentity loop, std::size_t count) noexcept
      : Composition(Kind::kPlain, loop), expiry_(*this), left_(count), todo_(count) {}

  void arm(Duration limit) noexcept { expiry_.start(*scheduler(), limit); }
  void end() noexcept {
    expiry_.stop_from_anywhere(scheduler(), loop_id());
    detach();
    release();
  }

  [[nodiscard]] FutureState* take() {
    {
      std::lock_guard guard(lock_);
      if (left_ == 0) return nullptr;
      --left_;
    }
    for (;;) {
      {
        std::lock_guard guard(lock_);
        if (first_ready_ != nullptr) return pop_locked();
        if (is_expired_) throw TimeoutError();
      }
      if (park(WaitReason::kAsCompleted, lock_, readers_,
               [this] { return first_ready_ == nullptr && !is_expired_; }))
        give_turn_back();
    }
  }

  void list_waiting(WaiterList& list) noexcept override {
    std::lock_guard guard(lock_);
    for (ParkedTask* reader = readers_.front(); reader != nullptr; reader = readers_.next(reader)) {
      list.add(reader->task);
    }
  }

  void on_time() noexcept {
    {
      std::lock_guard guard(lock_);
      if (todo_ == 0) return;
      is_expired_ = true;
    }
    detach();
    while (TaskCore* reader = take_reader()) make_ready_anywhere(*reader);
  }

 private:
  void on_child(Child& child) noexcept override {
    TaskCore* reader = nullptr;
    bool was_last = false;
    {
      std::lock_guard guard(lock_);
      if (is_expired_) return;
      (last_ready_ == nullptr ? first_ready_ : last_ready_->next_ready) = &child;
      last_ready_ = &child;
      was_last = --todo_ == 0;
      reader = take_parked(readers_);
    }
    if (was_last) expiry_.stop();  // first: who gets the last one finds no timer
    if (reader != nullptr) make_ready_anywhere(*reader);
  }

  [[nodiscard]] FutureState* pop_locked() noexcept {
    Child* child = std::exchange(first_ready_, first_ready_->next_ready);
    if (first_ready_ == nullptr) last_ready_ = nullptr;
    child->future().add_ref();
    return &child->future();
  }
  [[nodiscard]] TaskCore* take_reader() noexcept {
    std::lock_guard guard(lock_);
    return take_parked(readers_);
  }
  [[noreturn]] void give_turn_back() {
    TaskCore* other = nullptr;
    {
      std::lock_guard guard(lock_);
      ++left_;
      if (first_ready_ != nullptr) other = take_parked(readers_);
    }
    if (other != nullptr) make_ready_anywhere(*other);
    TaskControl::of(*this_worker()->current).throw_cancelled();
  }

  Expiry<Completions> expiry_;
  SpinLock lock_;                 // guards everything below
  Child* first_ready_ = nullptr;  // done, not given yet
  Child* last_ready_ = nullptr;
  ParkedTasks readers_;
  std::size_t left_;  // turns that nobody has taken
  std::size_t todo_;  // not done yet
  bool is_expired_ = false;
};

Completions* start_completions(FutureState* const* states, std::size_t count, std::optional<Duration> limit) {
  static_cast<void>(require_task("as_completed"));
  if (count == 0) return nullptr;
  auto* completions = Composition::make<Completions>(running_loop(), count, count);
  for (std::size_t i = 0; i < count; ++i) completions->watch(i, *states[i]);
  if (limit) completions->arm(*limit);
  return completions;
}

FutureState* take_completion(Completions& completions) {
  static_cast<void>(require_task("as_completed"));
  return completions.take();
}

void EndCompletions::operator()(Completions* completions) const noexcept { completions->end(); }

}  // namespace fibrio::detail
