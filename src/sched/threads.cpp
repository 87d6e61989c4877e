// What: of a scheduler, the threads of the workers but the first: made before the first task runs, all or none,
// joined when the loop closes.
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "base/machine.hpp"
#include "base/syscalls.hpp"
#include "base/thread_end.hpp"
#include "sched/scheduler.hpp"

namespace fibrio::detail {

namespace {

[[noreturn]] void throw_without_thread(int error, std::size_t workers) {
  throw std::system_error(error, std::system_category(),
                          "the event loop got no thread for each of its " + std::to_string(workers) +
                              " workers: pthread_create failed; threads are limited by " +
                              describe_thread_limits() +
                              ", and their stacks by memory and RLIMIT_AS (ulimit -v): raise what is short, "
                              "or set Config::workers = 1, "
                              "which needs no thread");
}

}  // namespace

void Scheduler::make_threads() {
  if (solo_) return;
  std::lock_guard guard(threads_lock_);
  // Of a closed loop: whoever closed it has joined them, or will.
  if (!threads_.empty() || is_closed()) return;
  int error = 0;
  try {
    threads_.reserve(workers_.size() - 1);
    for (std::size_t i = 1; i < workers_.size() && error == 0; ++i) {
      auto made = std::make_unique<WorkerThread>(*this, i);
      error = sys::create_thread(&made->handle, nullptr, &Scheduler::thread_main, made.get());
      if (error == 0) threads_.push_back(std::move(made));
    }
  } catch (const std::bad_alloc&) {
    error = -ENOMEM;
  }
  if (error == 0) return;
  end_threads_locked();  // all or none: a worker without a thread would be waited for
  threads_leave_ = false;
  throw_without_thread(-error, workers_.size());
}

void Scheduler::end_threads_locked() noexcept {
  {
    std::lock_guard guard(round_lock_);
    threads_leave_ = true;
  }
  round_changed_.notify_all();
  for (const auto& each : threads_) {
    ::pthread_join(each->handle, nullptr);
    await_thread_exit(each->id.load(std::memory_order_acquire));
  }
  threads_.clear();
}

void Scheduler::begin_round() noexcept {
  {
    std::lock_guard guard(round_lock_);
    ++round_;
    working_ = worker_count_ - 1;
  }
  round_changed_.notify_all();
}

void* Scheduler::thread_main(void* worker_thread) noexcept {
  auto& thread = *static_cast<WorkerThread*>(worker_thread);
  // release: partner of the acquire in end_threads_locked.
  thread.id.store(sys::gettid(), std::memory_order_release);
  thread.scheduler.run_thread(thread.index);
  return nullptr;
}

void Scheduler::run_thread(std::size_t index) noexcept {
  const std::string name = "fibrio-" + std::to_string(index);
  sys::prctl(PR_SET_NAME, reinterpret_cast<unsigned long>(name.c_str()));
  std::uint64_t round = 0;  // of those begun: threads are made before the first
  for (;;) {
    {
      std::unique_lock guard(round_lock_);
      round_changed_.wait(guard, [&] { return threads_leave_ || round_ != round; });
      if (threads_leave_) return;
      round = round_;
    }
    run_worker(index);
    {
      std::lock_guard guard(round_lock_);
      --working_;
    }
    round_changed_.notify_all();
  }
}

}  // namespace fibrio::detail
