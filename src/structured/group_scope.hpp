// What: the scope behind fibrio::task_group: the list of its children, and who waits for the last one. On the
// stack of the parent task; a child's place in it lies in the child's task frame: no allocation of its own.
//
// Threads: run, join: the parent. adopt, cancel: any task while the group lives. on_child: any worker.
//
// Protocol.
//  1. lock_ guards the lists, the flags and the parked parent. A child is in live_ or told_ (its cancel was
//     sent) until its watch has run; then it is gone, or in failed_ with its exception.
//  2. adopt checks and inserts in one critical section: a child is inserted before the abort, and cancelled
//     by it, or refused (hard_cases C40).
//  3. The one who sets aborting_ cancels the children, one by one, each off the lock; for this it moves them
//     from live_ to told_. While a child's watch does that, the child itself is still listed, so the group
//     cannot go away under it.
//     A cancel from elsewhere counts as under way (cancellers_) until it is through; the parent waits for it as
//     for a child.
//  4. Taking the last child, or canceller, out and resolving the parent's wait is one critical section, and the last
//     thing a watch, or a canceller, does with the group.
//  5. The parent takes back the one request that the group made (withdraw), as asyncio's uncancel; a request
//     from outside is left, and after an ExceptionGroup delivered by the next wait (re-armed, C35).
//
// Rejected: a vector of errors (it would allocate under the lock; a failed child's frame keeps its place
// anyway); a shared_ptr of the group in each child.
#pragma once

#include <cstdint>
#include <exception>
#include <vector>

#include "base/intrusive_list.hpp"
#include "base/spin_lock.hpp"
#include "fibrio/task_groups.hpp"
#include "structured/composition.hpp"
#include "structured/parking.hpp"

namespace fibrio::detail {

class GroupScope;

struct GroupChild final : FutureWatch, ListHook<GroupChild> {
  explicit GroupChild(GroupScope& its_group) noexcept : group(its_group) {}
  void run(bool drop) noexcept override;
  [[nodiscard]] FutureState& waits_for_it() noexcept override;
  // Ends its life, and the task's if nobody else holds that: this object lies in the task's frame.
  void end() noexcept {
    const AnyFuture holds_memory = take_future();
    this->~GroupChild();
  }
  GroupScope& group;
};
static_assert(sizeof(GroupChild) <= kGroupChildBytes && alignof(GroupChild) <= alignof(std::max_align_t));

class GroupScope final : public TaskGroup {
 public:
  GroupScope();

  // False: see run_task_group.
  [[nodiscard]] bool run(GroupBody body, void* context);

  void require_open();
  [[nodiscard]] LoopIdentity loop() const noexcept { return loop_; }
  [[nodiscard]] bool adopt(FutureState& task, void* place) noexcept;
  void cancel_all();

 private:
  friend struct GroupChild;
  using Children = IntrusiveList<GroupChild, GroupChild>;

  void on_child(GroupChild& child) noexcept;
  [[nodiscard]] bool has_children_locked() noexcept { return !live_.empty() || !told_.empty(); }
  // Somebody is in here who will come back to it.
  [[nodiscard]] bool is_busy_locked() noexcept { return has_children_locked() || cancellers_ != 0; }
  // True: the caller is the one to cancel the children.
  [[nodiscard]] bool begin_abort_locked() noexcept;
  // The same for the request to the parent, which the group makes once.
  [[nodiscard]] bool begin_request_locked() noexcept;
  void cancel_children() noexcept;
  // The request to the parent that goes with parent_requested_.
  void request_parent() noexcept;
  // How many requests the parent has that are not the group's.
  [[nodiscard]] std::uint32_t count_foreign_requests() noexcept;
  // Waits for the children. Returns the parent's CancelledError if a cancel from outside ended the wait.
  [[nodiscard]] std::exception_ptr join();
  [[nodiscard]] std::vector<std::exception_ptr> take_errors(std::exception_ptr body_error,
                                                            std::exception_ptr& exit_error);

  TaskControl& parent_;
  const LoopIdentity loop_;

  SpinLock lock_;  // guards everything below
  Children live_;
  Children told_;
  Children failed_;
  ParkedTasks joining_;  // the parent, or nobody
  bool exiting_ = false;
  bool aborting_ = false;
  bool parent_requested_ = false;
  bool request_sent_ = false;     // ... and it is in the parent's count
  std::uint32_t epoch_ = 0;       // of that request
  std::uint32_t cancellers_ = 0;  // calls of cancel_all that are under way
};

}  // namespace fibrio::detail
