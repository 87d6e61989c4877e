// What: the wait of gather(). Threads: tasks; the children's watches run on any worker; the cancel: any.
//
// Protocol. One word: how many children are not counted yet, and in its upper half how many cancels are under
// way or were accepted.
//  1. The last child to be counted learns in the same step whether a cancel was accepted, and completes the
//     future with a value or with CancelledError.
//  2. A cancel puts itself in the word only while a child is left, then cancels the children. If none
//     accepted (all done, not all counted) it takes itself out again and is refused, or, if the last one was
//     counted meanwhile, has won.
//  3. The first failure completes the future at once; the children go on, and nobody need see their errors.
//
// Rejected: a flag beside the counter: between the two a cancel could be accepted and have no effect.
#include <atomic>
#include <new>
#include <thread>
#include <utility>

#include "fibrio/detail/composing.hpp"
#include "fibrio/errors.hpp"
#include "sched/worker.hpp"
#include "structured/composition.hpp"
#include "task/report.hpp"

namespace fibrio::detail {
namespace {

class Gather final : public Composition {
 public:
  Gather(LoopIdentity loop, std::size_t count, bool return_exceptions) noexcept
      : Composition(Kind::kComposed, loop), word_(count), return_exceptions_(return_exceptions) {}

  [[nodiscard]] WaitReason waited_as() const noexcept override { return WaitReason::kGather; }

  // Counts a child that was done before the gather began.
  void count_done(std::size_t index) noexcept { on_child(child(index)); }

  struct Leave {
    Gather& gather;
    ~Leave() {
      if (gather.left() != 0) gather.abandon();
      gather.release();
    }
  };

 private:
  static constexpr std::uint64_t kOneCancel = std::uint64_t{1} << 32;
  static std::uint32_t left_of(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }
  [[nodiscard]] std::uint32_t left() const noexcept { return left_of(word_.load(std::memory_order_acquire)); }

  void on_child(Child& child) noexcept override {
    FutureState& future = child.future();
    future.absorb_exception();
    if (done()) return;
    if (!return_exceptions_) {
      if (std::exception_ptr error = future.error()) {
        complete_with(std::move(error));
        // If the caller was cancelled too, nobody sees this one, and there is nothing to report.
        if (future.cancelled()) absorb_exception();
        return;
      }
    }
    // acq_rel: partner of the cancellers' changes.
    const std::uint64_t old = word_.fetch_sub(1, std::memory_order_acq_rel);
    if (left_of(old) != 1) return;
    if (old < kOneCancel) {
      complete();
      return;
    }
    complete_with(future.cancelled() ? future.error() : std::make_exception_ptr(CancelledError()));
    absorb_exception();
  }

  // What is left of the children goes on alone.
  void abandon() noexcept {
    detach();
    for (std::size_t i = 0; i < size(); ++i) child(i).future().absorb_exception();
  }

  CancelStart begin_cancel(const std::string& message) override {
    if (done()) return CancelStart::kTooLate;
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    do {
      if (left_of(old) == 0) return CancelStart::kTooLate;
    } while (!word_.compare_exchange_weak(old, old + kOneCancel, std::memory_order_acq_rel));
    const std::thread::id self = std::this_thread::get_id();
    if (canceller_.exchange(self, std::memory_order_relaxed) == self) {
      // Some child waits, over others, for this very gather: such a cycle is broken here, as C13 asks.
      report_await_cycle(*this);
      complete_with(error_with(message));
      absorb_exception();
      return CancelStart::kOver;
    }
    return CancelStart::kBegun;
  }
  FutureState* part_to_cancel(std::size_t index) noexcept override {
    return index < size() ? &child(index).future() : nullptr;
  }
  bool end_cancel(bool any_part_accepted) noexcept override {
    canceller_.store(std::thread::id(), std::memory_order_relaxed);
    if (any_part_accepted) return true;
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    do {
      if (left_of(old) == 0) return true;
    } while (!word_.compare_exchange_weak(old, old - kOneCancel, std::memory_order_acq_rel));
    return false;
  }

  static std::exception_ptr error_with(const std::string& message) noexcept {
    try {
      return std::make_exception_ptr(CancelledError(message));
    } catch (const std::bad_alloc&) {  // it goes on without its text
      return std::make_exception_ptr(CancelledError());
    }
  }

  std::atomic<std::uint64_t> word_;  // writers: the children's watches, cancellers
  // The thread that cancels the children now, to find cycles: a hint among several threads.
  std::atomic<std::thread::id> canceller_{};
  const bool return_exceptions_;
};

}  // namespace

void wait_gathered(FutureState* const* states, std::size_t count, bool return_exceptions) {
  static_cast<void>(require_task("gather"));
  if (count == 0) return;
  auto* gather = Composition::make<Gather>(running_loop(), count, count, return_exceptions);
  const Gather::Leave leave{*gather};
  // Those that are done count at once, so that a gather of finished work does not suspend; but only when all
  // others are watched.
  bool any_done = false;
  for (std::size_t i = 0; i < count; ++i) {
    if (states[i]->done()) {
      gather->child(i).hold(*states[i]);
      any_done = true;
    } else {
      gather->watch(i, *states[i]);
    }
  }
  for (std::size_t i = 0; any_done && i < count; ++i) {
    if (!gather->is_watched(i)) gather->count_done(i);
  }
  gather->wait_done();
  gather->require_value();
}

}  // namespace fibrio::detail
