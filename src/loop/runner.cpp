#include "fibrio/runner.hpp"

#include <signal.h>
#include <unistd.h>

#include <utility>

#include "base/syscalls.hpp"
#include "fibrio/errors.hpp"
#include "loop/loop_impl.hpp"
#include "sched/this_worker.hpp"

namespace fibrio {

namespace {

// asyncio.run waits so long for its executor.
constexpr Duration kExecutorDrain = std::chrono::seconds(300);

bool is_main_thread() noexcept { return sys::gettid() == ::getpid(); }

// SIGINT cancels the task as long as this lives.
class InterruptGuard {
 public:
  InterruptGuard(detail::LoopImpl& impl, const AnyTask& task) : impl_(impl) {
    if (!is_main_thread() || !detail::signal_has_default_action(SIGINT)) return;
    detail::install_signal_handler(
        impl, SIGINT,
        [this, task] {
          interrupted_ = true;
          task.cancel();
        },
        true);
    installed_ = true;
  }
  ~InterruptGuard() {
    if (installed_) detail::uninstall_signal_handler(impl_, SIGINT);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  [[nodiscard]] bool interrupted() const noexcept { return interrupted_; }

 private:
  detail::LoopImpl& impl_;
  bool installed_ = false;
  bool interrupted_ = false;  // written by a callback of the loop, read when that has stopped
};

}  // namespace

Runner::Runner(Config config) : config_(config) { config_.validate(); }

Runner::~Runner() {
  try {
    close();
  } catch (...) {
    if (loop_ != nullptr) {
      loop_->call_exception_handler({"closing the runner failed", std::current_exception(), AnyFuture()});
    }
  }
}

EventLoop& Runner::get_loop() {
  if (closed_) throw RuntimeError("the runner is closed");
  if (loop_ == nullptr) {
    if (detail::this_worker() != nullptr) {
      throw RuntimeError(
          "run: an event loop runs on this thread already; inside it, await or create a task instead");
    }
    loop_ = std::make_unique<EventLoop>(config_);
  }
  return *loop_;
}

TaskOptions Runner::main_options() {
  if (!context_) context_ = copy_context();
  return {.context = context_};
}

void Runner::run_task(const AnyTask& task) {
  const InterruptGuard guard(detail::LoopAccess::impl(*loop_), task);
  loop_->run_until_done(task, true);
  if (guard.interrupted() && task.cancelled() && task.uncancel() == 0) throw KeyboardInterrupt();
}

void Runner::close() {
  if (std::exchange(closed_, true) || loop_ == nullptr) return;
  detail::LoopImpl& impl = detail::LoopAccess::impl(*loop_);
  if (!loop_->is_closed() && !impl.is_of_parent()) {
    if (loop_->get_debug()) impl.report_left_tasks();
    impl.cancel_all_tasks();
    if (impl.has_executor()) {
      impl.registry.refuse_elsewhere(false);  // the task that follows, and what the calls still do
      loop_->run_until_complete([this] { loop_->shutdown_default_executor(kExecutorDrain); });
    }
  }
  loop_->close();
}

}  // namespace fibrio
