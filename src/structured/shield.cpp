// What: the wait of shield(): a plain future of its own, which a cancel of the caller ends, watches the inner
// one. Threads: tasks.
#include "fibrio/detail/composing.hpp"
#include "sched/worker.hpp"
#include "structured/composition.hpp"

namespace fibrio::detail {
namespace {

class Shield final : public Composition {
 public:
  explicit Shield(LoopIdentity loop) noexcept : Composition(Kind::kPlain, loop) {}

  [[nodiscard]] WaitReason waited_as() const noexcept override { return WaitReason::kShield; }

 private:
  // If it was cancelled, complete() does nothing.
  void on_child(Child&) noexcept override { complete(); }
};

}  // namespace

void wait_shielded(FutureState& inner) {
  static_cast<void>(require_task("shield"));
  if (inner.done()) return;
  struct Leave {
    Shield& outer;
    ~Leave() {
      outer.detach();
      outer.release();
    }
  };
  auto* outer = Composition::make<Shield>(running_loop(), 1);
  const Leave leave{*outer};
  outer->watch(0, inner);
  outer->wait_done();
  if (!outer->cancelled()) return;
  // The caller goes; nobody may be left to see how the inner one fails.
  if (!inner.done()) inner.report_failure_once();
  outer->require_value();
}

}  // namespace fibrio::detail
