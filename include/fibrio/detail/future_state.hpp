// What: the shared state behind Future and Task, as far as headers must know it. Handles count references to
// it; producers complete it once; waiters and callbacks are listed in it.
// Threads: any, every function. The protocol of the word is in src/task/future_word.hpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

#include "fibrio/detail/eliding_atomic.hpp"
#include "fibrio/detail/unique_function.hpp"
#include "fibrio/wait_reason.hpp"

namespace fibrio {

class EventLoop;
class AnyFuture;

namespace detail {

class Scheduler;
class Worker;
class FutureState;
class DoneCallback;
class CreationSite;
struct LoopIdentity;

// Something that wants to hear that a future is done: a suspended task, a callback, a blocked thread.
// It is told exactly once and may be gone right after.
struct FutureWaiter {
  using OnDone = void (*)(FutureWaiter& self, FutureState& future) noexcept;
  explicit FutureWaiter(OnDone function) noexcept : on_done(function) {}
  FutureWaiter* next = nullptr;
  OnDone on_done;
};

// Memory for control blocks and states: what ended ones left to the calling worker, else tbbmalloc (malloc in
// sanitizer builds).
[[nodiscard]] void* allocate(std::size_t bytes);            // throws std::bad_alloc
void deallocate(void* memory, std::size_t bytes) noexcept;  // as many as were asked for

class FutureState {
 public:
  enum class Kind : std::uint8_t { kPlain, kTask, kComposed, kOffloaded };
  enum class Outcome : std::uint8_t { kValue, kException, kCancelled };

  FutureState(const FutureState&) = delete;
  FutureState& operator=(const FutureState&) = delete;

  void add_ref() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    // The acquire load pairs with the release half of the others' fetch_sub: who sees 1 is alone.
    if (references_.load(std::memory_order_acquire) == 1 ||
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      last_reference_gone();
    }
  }
  [[nodiscard]] bool is_unique() const noexcept { return references_.load(std::memory_order_acquire) == 1; }

  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  // Pairs with the release of the completion: who sees true sees the outcome and the value.
  [[nodiscard]] bool done() const noexcept { return (word_.load(std::memory_order_acquire) & kDone) != 0; }
  [[nodiscard]] bool cancelled() const noexcept { return done() && outcome_ == Outcome::kCancelled; }
  [[nodiscard]] void* value() const noexcept { return value_; }

  // Completion in two steps, so that the value is moved in by the one producer that won: begin or claim (false if
  // somebody else completes or has completed it), then store the value, then finish. Between begin and finish nothing
  // of the user's may run; after a claim it may, and may wait. abandon takes a claim back.
  [[nodiscard]] bool begin_completion() noexcept;
  void finish_completion() noexcept;  // with a value
  void finish_completion(Outcome outcome, std::exception_ptr exception) noexcept;
  [[nodiscard]] bool claim_completion() noexcept;
  void finish_claimed() noexcept;  // with a value
  void abandon_claim() noexcept;

  // Asks for cancellation; for a task see src/task. False if done already, or somebody is completing it. Without
  // memory it goes on without its text.
  bool cancel(const std::string& message) noexcept;

  // Waits until done, as the task or the thread it is called from can. Throws CancelledError if the calling
  // task is cancelled meanwhile, RuntimeError inside a callback.
  void wait_done();
  // The same for who does not ask for the result afterwards: throws CancelledError also if the cancel of the
  // calling task was passed on and the future ended by it.
  void wait();
  // Throws InvalidStateError if pending, CancelledError or the stored exception if it has no value.
  void require_value();
  // The stored exception or null. InvalidStateError if pending, CancelledError if cancelled.
  [[nodiscard]] std::exception_ptr exception();

  // What it ended with: the stored exception, a CancelledError if cancelled, null if a value. Leaves open
  // whether somebody saw it. Only once it is done.
  [[nodiscard]] std::exception_ptr error() const;
  [[nodiscard]] bool has_failed() const noexcept { return done() && outcome_ == Outcome::kException; }
  // Nobody needs to see the exception that it ended with, or will end with.
  void absorb_exception() noexcept { exception_retrieved_.store(true, std::memory_order_relaxed); }
  // Reports an exception to the loop's handler when it ends with one: once, however often this was called.
  void report_failure_once();

  // The cancel of a kComposed future, which cancels others and is done when they are, in steps (src/task/
  // cancel_walk.hpp): begin, then every part, then end, which returns false if it was too late after all.
  enum class CancelStart : std::uint8_t { kTooLate, kBegun, kOver };
  [[nodiscard]] virtual CancelStart begin_cancel(const std::string& message);
  // Null: there are no more.
  [[nodiscard]] virtual FutureState* part_to_cancel(std::size_t index) noexcept;
  [[nodiscard]] virtual bool end_cancel(bool any_part_accepted) noexcept;

  // Lists `waiter`; false if done already: then it is not listed and not told.
  [[nodiscard]] bool add_waiter(FutureWaiter& waiter) noexcept;
  // True if it was still listed: then it will not be told.
  [[nodiscard]] bool remove_waiter(FutureWaiter& waiter) noexcept;

  std::uint64_t add_done_callback(UniqueFunction<void(AnyFuture)> callback);
  // The same, run on this loop.
  std::uint64_t add_done_callback(UniqueFunction<void(AnyFuture)> callback, Scheduler& loop);
  std::size_t remove_done_callback(std::uint64_t id);
  // The loop that calls back: the caller's, or the future's if the caller runs on none. RuntimeError if there
  // is none, or it is closed; `what` needs it.
  [[nodiscard]] LoopIdentity loop_for_callbacks(const char* what) const;

  // For who looks at what waits for what. Calls `visit` for each that is listed, under the lock of the word:
  // it may take references, nothing else.
  void for_each_waiter(void (*visit)(FutureWaiter& waiter, void* context), void* context) noexcept;
  // What a task waits for that awaits this.
  [[nodiscard]] virtual WaitReason waited_as() const noexcept {
    return kind_ == Kind::kOffloaded ? WaitReason::kThread : WaitReason::kFuture;
  }
  // Debug mode: remembers the caller. Once, before anybody else knows the future.
  void note_creation() noexcept;
  // Null: it was not made in debug mode.
  [[nodiscard]] const CreationSite* created_at() const noexcept;

  [[nodiscard]] EventLoop& loop() const;  // RuntimeError if the future belongs to none
  [[nodiscard]] Scheduler* scheduler() const noexcept { return scheduler_; }
  [[nodiscard]] std::uint64_t loop_id() const noexcept { return loop_id_; }

  static void* operator new(std::size_t bytes) { return allocate(bytes); }
  static void* operator new(std::size_t, void* place) noexcept { return place; }
  static void operator delete(void* memory, std::size_t bytes) noexcept { deallocate(memory, bytes); }

  static constexpr std::uintptr_t kLocked = 1;  // bits of word_: see src/task/future_word.hpp
  static constexpr std::uintptr_t kDone = 2;
  static constexpr std::uintptr_t kClaimed = 4;

 protected:
  // A state is born with one reference, a task with two.
  FutureState(Kind kind, Scheduler* scheduler, std::uint64_t loop_id, std::uint32_t references = 1) noexcept
      : references_(references), kind_(kind), loop_id_(loop_id), scheduler_(scheduler) {}
  virtual ~FutureState() {
    if (has_creation_site_ || !done()) [[unlikely]]
      clean_up();
  }
  virtual void destroy() noexcept = 0;  // destroys the value if has_value(), then frees the state
  [[nodiscard]] bool has_value() const noexcept { return done() && outcome_ == Outcome::kValue; }
  void set_value_place(void* place) noexcept { value_ = place; }

 private:
  friend class TaskControl;
  void last_reference_gone() noexcept;
  void clean_up() noexcept;  // its record of where it was made, and callbacks that nobody will call
  void tell(FutureWaiter* newest_first) noexcept;
  void set_outcome(Outcome outcome, std::exception_ptr exception) noexcept;
  // The end of a task, which has the loop's reference; its state may be gone afterwards.
  void tell_and_release(FutureWaiter* newest_first, Worker& worker) noexcept;
  std::uint64_t list_done_callback(UniqueFunction<void(AnyFuture)> callback, const LoopIdentity& loop);
  void list(DoneCallback& callback) noexcept;
  void report_never_retrieved() noexcept;
  // Before a thread blocks: RuntimeError in a forked child, where nobody completes a future of the parent's
  // loop.
  void require_own_process() const;

  ElidingAtomic<std::uintptr_t> word_{0};
  ElidingAtomic<std::uint32_t> references_;
  Kind kind_ : 7;
  bool has_creation_site_ : 1 =
      false;  // it is in a table beside; written before anybody else knows the future
  Outcome outcome_ = Outcome::kValue;  // written before the release of kDone
  std::atomic<bool> exception_retrieved_{false};
  std::atomic<bool> failure_reported_{false};  // for report_failure_once, asked for on several workers
  std::uint64_t loop_id_;                      // tells whether scheduler_ still lives, for late reports
  Scheduler* scheduler_;                       // null: made outside of any loop
  void* value_ = nullptr;
  std::exception_ptr exception_;  // also the CancelledError of a cancelled one, if it has a text
};

// The loop that runs on this thread (its scheduler and id), or nulls.
struct LoopIdentity {
  Scheduler* scheduler = nullptr;
  std::uint64_t id = 0;
};
[[nodiscard]] LoopIdentity running_loop() noexcept;
[[nodiscard]] LoopIdentity loop_identity(EventLoop& loop) noexcept;

[[noreturn]] void throw_already_done(const FutureState& state);
[[noreturn]] void throw_task_completion();
[[noreturn]] void throw_replaced();

// The state of a plain Future<T>.
template <class Value>
class ValueFutureState final : public FutureState {
 public:
  static_assert(alignof(Value) <= alignof(std::max_align_t),
                "values with extended alignment are not supported");
  explicit ValueFutureState(LoopIdentity loop, Kind kind = Kind::kPlain) noexcept
      : FutureState(kind, loop.scheduler, loop.id) {
    set_value_place(storage_);
  }

 private:
  void destroy() noexcept override {
    if (has_value()) static_cast<Value*>(value())->~Value();
    delete this;
  }
  alignas(Value) std::byte storage_[sizeof(Value)];
};

}  // namespace detail
}  // namespace fibrio
