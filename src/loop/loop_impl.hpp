// What: the inside of an EventLoop: its scheduler, its tasks, its default executor, its resolver threads, its
// handlers. Threads: any, unless said otherwise.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fibrio/config.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/threads.hpp"
#include "loop/signals.hpp"
#include "net/fd_watch.hpp"
#include "net/name_lookups.hpp"
#include "sched/scheduler.hpp"
#include "task/callback.hpp"
#include "task/registry.hpp"

namespace fibrio::detail {

class LoopImpl {
 public:
  LoopImpl(EventLoop& loop, const Config& config);
  ~LoopImpl();

  // Throws RuntimeError, saying which, if the loop is closed, runs, or this thread runs a loop, or was
  // forked; std::system_error if a worker gets no thread. So what is created next can run.
  void require_runnable();
  void require_open(const char* what) const;

  // One thread at a time runs the loop, or closes it: the one that has it.
  class Claim;

  // Debug mode: names the tasks that are alive although what was run has returned.
  void report_left_tasks() noexcept;
  // For the text of an error: "; tasks that wait: 'a' (an event), …". Between runs.
  [[nodiscard]] std::string waits_in_words() const;

  // Runs the scheduler until it stops. Throws what exit() was given.
  void run();
  // Ends the run; not one in which the tasks are cancelled: others could stop it again and again.
  void stop() noexcept;
  // Ends the run, which throws `exception` (the first one, if there are several).
  void exit(std::exception_ptr exception) noexcept;
  // Cancels what is left and waits for it; again for what that created, for some rounds. Reports what is left
  // then. Other threads cannot create tasks from then on: they could go on for ever.
  void cancel_all_tasks();
  // Waits for nothing but its tasks, calls from outside that are under way, and threads that have nothing to do.
  void close();
  // The calling task or callback is of this loop.
  [[nodiscard]] bool runs_here() const noexcept;

  void report(const ExceptionContext& context) noexcept;

  [[nodiscard]] std::shared_ptr<ThreadPool> default_executor();
  [[nodiscard]] NameLookups& names();
  [[nodiscard]] bool has_executor() const;
  // This process was forked since the loop was made.
  [[nodiscard]] bool is_of_parent() const noexcept { return scheduler.is_of_parent(); }

  EventLoop& loop;
  const Config config;
  TaskRegistry registry;
  Scheduler scheduler;
  FdWatch fd_watch;

  mutable std::mutex lock;  // guards what follows
  std::exception_ptr exit_exception;
  EventLoop::ExceptionHandler exception_handler;
  std::shared_ptr<ThreadPool> executor;
  bool executor_is_shut_down = false;
  std::unique_ptr<ThreadPool> resolver;
  std::unique_ptr<NameLookups> name_lookups;  // on that
  std::map<int, std::shared_ptr<StandingCallback>> signal_handlers;
  std::vector<std::shared_ptr<SignalQueue>> signal_queues;
  SignalPipeOwner signal_pipe;

 private:
  void run(const Claim& claim, bool closes);
  void cancel_all_tasks(const Claim& claim);

  std::atomic<bool> is_claimed_{false};
  std::atomic<bool> is_ending_tasks_{false};
};

// A call that is promised for any thread, while it is inside of the loop: that does not end meanwhile. On the loop's
// own workers it costs nothing: it runs, so nobody can close it.
class LoopHold {
 public:
  // Throws RuntimeError if the loop is closed, or of the parent process.
  LoopHold(LoopImpl& impl, const char* what) : LoopHold(impl) {
    if (!is_inside()) refuse(impl, what);
  }
  // For what has an answer for a closed loop.
  explicit LoopHold(LoopImpl& impl) noexcept;
  LoopHold(const LoopHold&) = delete;
  LoopHold& operator=(const LoopHold&) = delete;
  ~LoopHold() {
    if (gate_ != nullptr) gate_->leave();
  }
  [[nodiscard]] bool is_inside() const noexcept { return is_inside_; }

 private:
  [[noreturn]] static void refuse(const LoopImpl& impl, const char* what);

  bool is_inside_ = true;
  Gate<>* gate_ = nullptr;  // to be left
};

struct LoopAccess {
  static LoopImpl& impl(EventLoop& loop) noexcept { return *loop.impl_; }
  static std::shared_ptr<CallbackState>& state(Handle& handle) noexcept { return handle.state_; }
};

}  // namespace fibrio::detail
