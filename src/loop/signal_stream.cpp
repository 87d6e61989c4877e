// What: SignalStream; the protocol of signals is in signals.cpp.
#include <stdexcept>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/signals.hpp"
#include "loop/loop_impl.hpp"
#include "loop/signal_queue.hpp"
#include "sched/worker.hpp"

namespace fibrio {

namespace {

// A task waits: the outside world may send something.
class WaitOutside {
 public:
  explicit WaitOutside(detail::Scheduler& scheduler) noexcept : scheduler_(scheduler) {
    scheduler_.change_outside(1);
  }
  WaitOutside(const WaitOutside&) = delete;
  WaitOutside& operator=(const WaitOutside&) = delete;
  ~WaitOutside() { scheduler_.change_outside(-1); }

 private:
  detail::Scheduler& scheduler_;
};

}  // namespace

SignalStream::SignalStream(std::initializer_list<int> signals)
    : SignalStream(std::span<const int>(signals.begin(), signals.size())) {}

SignalStream::SignalStream(std::span<const int> signals) {
  if (signals.empty()) throw std::invalid_argument("SignalStream: no signal");
  detail::LoopImpl& loop = detail::LoopAccess::impl(get_running_loop());
  auto queue = std::make_shared<detail::SignalQueue>(loop, signals);
  detail::subscribe_to_signals(queue);
  queue_ = std::move(queue);
}

SignalStream::SignalStream(SignalStream&& other) noexcept = default;
SignalStream& SignalStream::operator=(SignalStream&& other) noexcept {
  if (this != &other) {
    if (queue_ != nullptr) detail::unsubscribe_from_signals(queue_);
    queue_ = std::move(other.queue_);
  }
  return *this;
}
SignalStream::~SignalStream() {
  if (queue_ != nullptr) detail::unsubscribe_from_signals(queue_);
}

int SignalStream::next() {
  detail::Worker& worker = detail::require_task("SignalStream::next");
  const WaitOutside waits(worker.scheduler);
  for (;;) {
    if (const std::optional<int> signal = try_next()) return *signal;
    if (queue_->is_closed()) throw RuntimeError("SignalStream::next: the event loop is closed");
    queue_->wait();
  }
}

std::optional<int> SignalStream::try_next() {
  if (queue_ == nullptr) throw RuntimeError("SignalStream: it was moved away");
  return queue_->take();
}

}  // namespace fibrio
