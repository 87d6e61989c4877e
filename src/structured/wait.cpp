// What: wait(), and the cancel-and-wait of wait_for without time. Threads: tasks.
#include <algorithm>
#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "fibrio/detail/composing.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/tasks.hpp"
#include "sched/worker.hpp"
#include "structured/composition.hpp"
#include "structured/expiry.hpp"

namespace fibrio::detail {
namespace {

// Done, as a plain future that a cancel ends, when enough children are, or in time.
class Wait final : public Composition {
 public:
  Wait(LoopIdentity loop, std::size_t count, ReturnWhen when) noexcept
      : Composition(Kind::kPlain, loop), left_(count), when_(when), expiry_(*this) {}

  // Lets go of it: the composer's reference.
  struct Leave {
    Wait& wait;
    ~Leave() {
      wait.expiry_.stop();
      wait.detach();
      wait.release();
    }
  };

  [[nodiscard]] WaitReason waited_as() const noexcept override { return WaitReason::kWait; }

  void arm(Duration limit) noexcept { expiry_.start(*scheduler(), limit); }
  void on_time() noexcept { complete(); }

 private:
  void on_child(Child& child) noexcept override {
    // relaxed: the children's own completions publish what they did.
    const bool last = left_.fetch_sub(1, std::memory_order_relaxed) == 1;
    if (last || when_ == FIRST_COMPLETED || (when_ == FIRST_EXCEPTION && child.future().has_failed())) {
      complete();
    }
  }

  std::atomic<std::size_t> left_;  // writers: the children's watches
  const ReturnWhen when_;
  Expiry<Wait> expiry_;
};

}  // namespace

std::size_t merge_duplicates(FutureState** states, std::size_t count) {
  // Sorted by address, so that a large set does not cost the square of its size.
  std::vector<std::pair<FutureState*, std::size_t>> sorted;
  sorted.reserve(count);
  for (std::size_t i = 0; i < count; ++i) sorted.emplace_back(states[i], i);
  std::sort(sorted.begin(), sorted.end());
  bool found = false;
  for (std::size_t i = 1; i < count; ++i) {
    if (sorted[i].first != sorted[i - 1].first) continue;
    states[sorted[i].second] = nullptr;
    found = true;
  }
  return found ? static_cast<std::size_t>(std::remove(states, states + count, nullptr) - states) : count;
}

void wait_some(FutureState* const* states, std::size_t count, std::optional<Duration> limit,
               ReturnWhen when) {
  static_cast<void>(require_task("wait"));
  auto* wait = Composition::make<Wait>(running_loop(), count, count, when);
  const Wait::Leave leave{*wait};
  if (limit) wait->arm(*limit);
  for (std::size_t i = 0; i < count; ++i) wait->watch(i, *states[i]);
  wait->wait_done();
  wait->require_value();  // CancelledError if the task was cancelled here
}

void wait_no_time(FutureState& future) {
  if (future.done()) return;
  static_cast<void>(require_task("wait_for"));
  {
    // Not on the future itself: a cancel of the caller must end this wait, whatever the future does.
    auto* wait = Composition::make<Wait>(running_loop(), 1, 1, ALL_COMPLETED);
    const Wait::Leave leave{*wait};
    wait->watch(0, future);
    static_cast<void>(future.cancel(std::string()));
    wait->wait_done();
    wait->require_value();
  }
  if (!future.cancelled()) return;
  try {
    future.require_value();
  } catch (const CancelledError&) {
    std::throw_with_nested(TimeoutError());
  }
}

void refuse_work() {
  // Something stands for the work, so that this takes as many passes as in asyncio, which cancels a task of it.
  // That task may begin elsewhere before it is cancelled; the work must not.
  const Task<> stands_for_it = create_task([] {});
  wait_no_time(*stands_for_it.state());
  throw TimeoutError();
}

}  // namespace fibrio::detail
