#include "structured/composition.hpp"

#include "sched/scheduler.hpp"
#include "task/done_callback.hpp"

namespace fibrio::detail {

void FutureWatch::start(const LoopIdentity& loop, StrandState* on) noexcept {
  loop_ = loop;
  put_on(on);
  if (!future_->add_waiter(*this)) told(*this, *future_);
}

void FutureWatch::told(FutureWaiter& waiter, FutureState&) noexcept {
  auto& self = static_cast<FutureWatch&>(waiter);
  queue_on_loop(self, self.loop_);
}

Composition::~Composition() {
  for (std::size_t i = 0; i < size_; ++i) children_[i].~Child();
}

void Composition::destroy() noexcept {
  const std::size_t bytes = bytes_;
  this->~Composition();
  deallocate(this, bytes);
}

void Composition::Child::run(bool drop) noexcept {
  Composition& owner = owner_;
  if (!drop) owner.on_child(*this);
  owner.release();  // this watch's reference: it may be gone now
}

void Composition::watch(std::size_t index, FutureState& future) noexcept {
  Child& watching = children_[index];
  watching.hold(future);
  watching.is_started_ = true;
  add_ref();
  watching.start({scheduler(), loop_id()}, current_strand());
}

void Composition::detach() noexcept {
  for (std::size_t i = 0; i < size_; ++i) {
    if (children_[i].is_started_ && children_[i].stop()) release();
  }
}

void Composition::complete() noexcept {
  if (begin_completion()) finish_completion();
}

void Composition::complete_with(std::exception_ptr error) noexcept {
  if (begin_completion()) finish_completion(Outcome::kException, std::move(error));
}

}  // namespace fibrio::detail
