#include "offload/thread_pool.hpp"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "base/atomic.hpp"
#include "base/check.hpp"
#include "base/machine.hpp"
#include "base/syscalls.hpp"
#include "base/thread_end.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/tasks.hpp"
#include "sched/clock_hold.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

namespace fibrio {
namespace detail {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kThreadNameBytes = 15;  // the kernel's limit

// Of a duration as long as the clock's range: the end of time, not an overflow.
Clock::time_point deadline_after(Duration duration) {
  const Clock::time_point now = Clock::now();
  return duration >= Clock::time_point::max() - now ? Clock::time_point::max() : now + duration;
}

std::int64_t nanoseconds_since(Clock::time_point begin) {
  return std::chrono::nanoseconds(Clock::now() - begin).count();
}

// What comes so soon is not worth a sleep: waking a thread takes its waker 2 to 5 us, and a halted CPU 35 to 70 us.
constexpr std::int64_t kSpinNs = 20'000;

// What a pool's thread must not be interrupted by: everything but the faults of its own code, which the
// kernel would else turn into a silent death of the process, past all handlers.
sigset_t blocked_signals() noexcept {
  sigset_t set;
  ::sigfillset(&set);
  for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT})
    ::sigdelset(&set, fault);
  return set;
}

// As pthread_create.
int create_thread(pthread_t* thread, const pthread_attr_t* attributes, void* (*main)(void*), void* argument) {
  return -sys::create_thread(thread, attributes, main, argument);
}

}  // namespace

// One submitted call, see protocol 1 and 2.
struct ThreadPoolImpl::Call : FutureWaiter, ListHook<> {
  Call(std::shared_ptr<ThreadPoolImpl> owner, const AnyFuture& result, UniqueFunction<void()> callable)
      : FutureWaiter(&on_future_done),
        pool(std::move(owner)),
        future(result),
        function(std::move(callable)),
        hold(result.state()->scheduler()) {}
  static void* operator new(std::size_t bytes) { return allocate(bytes); }
  static void operator delete(void* memory, std::size_t bytes) noexcept { deallocate(memory, bytes); }

  std::shared_ptr<ThreadPoolImpl> pool;  // on_done may come when nothing else holds it
  AnyFuture future;
  UniqueFunction<void()> function;
  ClockHold hold;  // until the future is done and the callable gone; moved out by who takes the call
  Clock::time_point queued_at = Clock::now();
  bool taken = false;  // guarded by pool->mutex_, as is the next
  int owners = 2;
};

struct ThreadPoolImpl::IdleThread : ListHook<> {
  std::condition_variable wake;
  bool woken = false;
};

struct ThreadPoolImpl::Spinner {
  std::atomic<bool> is_taken{false};  // relaxed: what is to be seen is seen under the lock
};

struct ThreadPoolImpl::Thread : ListHook<> {
  pthread_t id = ::pthread_self();
};

// What a new thread is given.
struct ThreadPoolImpl::Birth {
  std::shared_ptr<ThreadPoolImpl> pool;
  std::size_t number;
};

ThreadPoolImpl::ThreadPoolImpl(std::size_t max_threads, Duration keep_alive, std::string name)
    : max_threads_(max_threads),
      keep_alive_(keep_alive),
      name_(std::move(name)),
      create_thread_(&create_thread),
      may_spin_(usable_cpus() > 1) {}

ThreadPoolImpl::~ThreadPoolImpl() {
  // No thread is alive: each holds a reference while it is. The last that left may be the one that runs this.
  FIBRIO_CHECK(alive_ == 0 && queue_.empty(), "a thread pool was freed under its threads");
  if (!last_left_) return;
  if (::pthread_equal(last_left_->id, ::pthread_self()) != 0) {
    ::pthread_detach(last_left_->id);
  } else {
    join(*last_left_);
  }
}

void ThreadPoolImpl::join(const Leaver& leaver) noexcept {
  ::pthread_join(leaver.id, nullptr);
  await_thread_exit(leaver.number);
}

void ThreadPoolImpl::enqueue(const AnyFuture& future, UniqueFunction<void()> function) {
  auto call = std::make_unique<Call>(shared_from_this(), future, std::move(function));
  enum class Refusal { kShutDown, kNoThread, kFutureIsDone } refusal;
  int error = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!stopping_ && idle_.empty() && spinner_ == nullptr && alive_ < max_threads_)
      error = start_thread_locked();
    if (stopping_) {
      refusal = Refusal::kShutDown;
    } else if (error != 0 && alive_ == 0) {
      refusal = Refusal::kNoThread;
    } else if (!future.state()->add_waiter(*call)) {
      refusal = Refusal::kFutureIsDone;
    } else {
      queue_.push_back(call.release());
      ++queued_;
      if (spinner_ != nullptr) {
        take_spinner_locked();
      } else if (IdleThread* idle = idle_.pop_front()) {
        --idle_count_;
        idle->woken = true;
        idle->wake.notify_one();  // under the lock: the thread's record is on its stack
      }
      if (may_spin_ && last_call_ns_.load(std::memory_order_relaxed) < kSpinNs) {
        if (Worker* worker = this_worker()) worker->expect_completion();
      }
      return;
    }
  }
  call.reset();  // user code: the callable's destructor
  if (refusal == Refusal::kShutDown) {
    throw RuntimeError("ThreadPool \"" + name_ + "\" is shut down and takes no more calls");
  }
  if (refusal == Refusal::kNoThread) {
    throw std::system_error(error, std::system_category(),
                            "ThreadPool \"" + name_ +
                                "\": pthread_create of its first thread failed; threads are limited by " +
                                describe_thread_limits() + ", and by memory: raise what is short");
  }
}

// Returns 0 or the error. The new thread waits for mutex_ before it does anything.
int ThreadPoolImpl::start_thread_locked() noexcept {
  std::unique_ptr<Birth> birth(new (std::nothrow) Birth{shared_from_this(), next_number_});
  if (birth == nullptr) return ENOMEM;
  const sigset_t blocked = blocked_signals();
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, &blocked, &before);  // a thread inherits the mask of its creator
  pthread_t thread;
  const int error = create_thread_(&thread, nullptr, &ThreadPoolImpl::thread_main, birth.get());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return error;
  birth.release();
  ++next_number_;
  ++alive_;
  return 0;
}

void* ThreadPoolImpl::thread_main(void* argument) noexcept {
  std::unique_ptr<Birth> birth(static_cast<Birth*>(argument));
  const std::shared_ptr<ThreadPoolImpl> pool = std::move(birth->pool);  // released last: it may free the pool
  const std::size_t number = birth->number;
  birth.reset();
  pool->run_thread(number);
  return nullptr;
}

void ThreadPoolImpl::run_thread(std::size_t number) noexcept {
  const std::string suffix = std::to_string(number);
  std::string name = name_.substr(0, kThreadNameBytes - 1 - suffix.size());
  name.append("-").append(suffix);
  ::pthread_setname_np(::pthread_self(), name.c_str());

  Thread self;
  std::unique_lock lock(mutex_);
  threads_.push_back(&self);
  run_calls(lock);
  threads_.remove(&self);
  --alive_;
  const std::optional<Leaver> previous = std::exchange(last_left_, Leaver{self.id, sys::gettid()});
  std::vector<Future<>> tasks;
  if (alive_ == 0) tasks.swap(waiting_tasks_);
  if (stopping_) some_left_.notify_all();
  lock.unlock();
  if (previous) join(*previous);
  for (Future<>& task : tasks) task.try_set_result();
}

// Runs calls until the thread has to leave.
void ThreadPoolImpl::run_calls(std::unique_lock<std::mutex>& lock) noexcept {
  Clock::time_point idle_since = Clock::time_point::max();
  bool spins = false;
  while (true) {
    if (Call* call = queue_.pop_front()) {
      // The next one came soon after the last was done: so may the one after it.
      if (idle_since != Clock::time_point::max()) {
        spins = may_spin_ && (call->queued_at - idle_since).count() < kSpinNs;
        idle_since = Clock::time_point::max();
      }
      --queued_;
      ++running_;
      call->taken = true;
      lock.unlock();
      run(call);
      lock.lock();
      --running_;
    } else {
      if (idle_since == Clock::time_point::max()) idle_since = Clock::now();
      if (stopping_ || !wait_for_call(lock, spins)) return;
    }
  }
}

void ThreadPoolImpl::run(Call* call) noexcept {
  const ClockHold hold = std::move(call->hold);  // released last
  UniqueFunction<void()> function = std::move(call->function);
  const AnyFuture future = std::move(call->future);
  if (future.state()->remove_waiter(*call)) {
    delete call;
    const Clock::time_point begin = Clock::now();
    function();  // completes the future, and lets no exception out
    last_call_ns_.store(nanoseconds_since(begin), std::memory_order_relaxed);
  } else {
    function.reset();  // cancelled in between
    release_owner(call);
  }
}

void ThreadPoolImpl::take_spinner_locked() noexcept {
  // Under the lock, as the record is on the spinner's stack.
  std::exchange(spinner_, nullptr)->is_taken.store(true, std::memory_order_relaxed);
}

// True: a call came, which another thread may have taken by now, or the end.
bool ThreadPoolImpl::spin_for_call(std::unique_lock<std::mutex>& lock) noexcept {
  if (spinner_ != nullptr) return false;
  Spinner self;
  spinner_ = &self;
  lock.unlock();
  const Clock::time_point begin = Clock::now();
  while (!self.is_taken.load(std::memory_order_relaxed) && nanoseconds_since(begin) < kSpinNs) {
    spin_pause<std::atomic>();
  }
  lock.lock();
  if (spinner_ != &self) return true;
  spinner_ = nullptr;
  return false;
}

// Waits at most keep_alive; false if the thread has to leave. The queue is empty at the begin, and may be
// again at the end although the thread was woken: another one was faster.
bool ThreadPoolImpl::wait_for_call(std::unique_lock<std::mutex>& lock, bool spins) noexcept {
  if (spins && spin_for_call(lock)) return true;
  if (stopping_) return false;
  const Clock::time_point deadline = deadline_after(keep_alive_);
  IdleThread self;
  idle_.push_front(&self);
  ++idle_count_;
  while (!self.woken && self.wake.wait_until(lock, deadline) != std::cv_status::timeout) {
  }
  if (self.woken) return true;
  idle_.remove(&self);
  --idle_count_;
  return !queue_.empty();  // a call came for a thread that was woken and has not got the lock yet: be faster
}

// The future is done: cancelled, as a rule, or completed by somebody else than the call.
void ThreadPoolImpl::on_future_done(FutureWaiter& waiter, FutureState&) noexcept {
  auto* const call = static_cast<Call*>(&waiter);
  const std::shared_ptr<ThreadPoolImpl> pool = call->pool;
  {
    const std::lock_guard lock(pool->mutex_);
    if (!call->taken) {
      pool->queue_.remove(call);
      --pool->queued_;
    } else if (--call->owners > 0) {
      return;  // who took it frees it
    }
  }
  delete call;  // user code, if it was queued: the callable's destructor
}

void ThreadPoolImpl::release_owner(Call* call) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (--call->owners > 0) return;
  }
  delete call;
}

void ThreadPoolImpl::set_create_thread(CreateThread create) {
  const std::lock_guard lock(mutex_);
  create_thread_ = create;
}

// Refuses new calls and lets the threads go when the queue is empty.
void ThreadPoolImpl::stop(bool cancel_queued) noexcept {
  IntrusiveList<Call> cancelled;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (spinner_ != nullptr) take_spinner_locked();
    while (IdleThread* idle = idle_.pop_front()) {
      --idle_count_;
      idle->woken = true;
      idle->wake.notify_one();
    }
    if (cancel_queued) {
      for (Call* call = queue_.front(); call != nullptr; call = queue_.next(call)) call->taken = true;
      cancelled.splice_back(queue_);
      queued_ = 0;
    }
  }
  while (Call* call = cancelled.pop_front()) {
    const ClockHold hold = std::move(call->hold);  // released last
    call->function.reset();
    AnyFuture future = std::move(call->future);
    future.cancel();  // false: cancelled by another at this moment. on_done has been or will be told
    release_owner(call);
  }
}

bool ThreadPoolImpl::is_own_thread_locked() noexcept {
  for (Thread* thread = threads_.front(); thread != nullptr; thread = threads_.next(thread)) {
    if (::pthread_equal(thread->id, ::pthread_self()) != 0) return true;
  }
  return false;
}

std::size_t ThreadPoolImpl::shutdown(bool wait, Duration timeout, bool cancel_queued) {
  if (wait) {  // a call of this pool would wait for itself
    const std::lock_guard lock(mutex_);
    wait = !is_own_thread_locked();
  }
  const bool in_loop = running_loop().scheduler != nullptr;
  if (wait && in_loop && !current_task().valid()) {
    throw RuntimeError(
        "ThreadPool::shutdown waits, and a callback must not wait: call it in a task, or with wait = false");
  }
  stop(cancel_queued);
  if (wait) in_loop ? wait_in_task(timeout) : wait_in_thread(timeout);
  const std::lock_guard lock(mutex_);
  return running_ + queued_;
}

void ThreadPoolImpl::close() noexcept {
  bool wait = true;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    wait = !is_own_thread_locked();
  }
  stop(false);
  if (!wait) return;
  if (running_loop().scheduler != nullptr && current_task().valid()) {
    try {
      const CancelMask mask;
      wait_in_task(Duration(-1));
      return;
    } catch (...) {  // no memory for a future: the thread can still be blocked
    }
  }
  wait_in_thread(Duration(-1));
}

void ThreadPoolImpl::end(Duration timeout) noexcept {
  stop(true);
  {
    std::unique_lock lock(mutex_);
    // Those that run no call leave by themselves: they are awake, or about to be.
    some_left_.wait(lock, [this] { return alive_ <= running_; });
    // One of them may be the caller.
    if (this_worker() == nullptr && !is_own_thread_locked()) wait_until_locked(lock, 0, timeout);
  }
  join_last_left();
}

// Waits, at most `timeout` (negative: without a limit), until no more than so many threads are alive.
void ThreadPoolImpl::wait_until_locked(std::unique_lock<std::mutex>& lock, std::size_t alive,
                                       Duration timeout) {
  const auto have_left = [this, alive] { return alive_ <= alive; };
  if (timeout < Duration::zero()) {
    some_left_.wait(lock, have_left);
  } else {
    some_left_.wait_until(lock, deadline_after(timeout), have_left);
  }
}

void ThreadPoolImpl::wait_in_thread(Duration timeout) {
  {
    std::unique_lock lock(mutex_);
    wait_until_locked(lock, 0, timeout);
  }
  join_last_left();
}

void ThreadPoolImpl::wait_in_task(Duration timeout) {
  // Completed by the last thread that leaves, or by the timer, or cancelled with the task.
  const Future<> all_left = make_future<void>(running_loop());
  // The threads that leave hold a virtual clock, as the calls they ran did.
  const ClockHold hold(running_loop().scheduler);
  struct Leave {
    ~Leave() {
      if (timer) timer->cancel();
      const std::lock_guard lock(pool.mutex_);
      std::erase(pool.waiting_tasks_, future);
    }
    ThreadPoolImpl& pool;
    const Future<>& future;
    std::optional<TimerHandle> timer;
  };
  {
    Leave leave{*this, all_left, std::nullopt};
    bool must_wait = false;
    {
      const std::lock_guard lock(mutex_);
      must_wait = alive_ > 0 && timeout != Duration::zero();
      if (must_wait) waiting_tasks_.push_back(all_left);
    }
    if (must_wait && timeout > Duration::zero()) {
      leave.timer =
          get_running_loop().call_later(timeout, [future = all_left]() mutable { future.try_set_result(); });
    }
    if (must_wait) await(all_left);
  }
  join_last_left();
}

// Makes sure that the threads that have left are gone from the system, and not only about to go.
void ThreadPoolImpl::join_last_left() noexcept {
  std::optional<Leaver> last;
  {
    const std::lock_guard lock(mutex_);
    last.swap(last_left_);
  }
  if (last) join(*last);
}

std::size_t ThreadPoolImpl::threads() const {
  const std::lock_guard lock(mutex_);
  return alive_;
}
std::size_t ThreadPoolImpl::idle() const {
  const std::lock_guard lock(mutex_);
  return idle_count_ + (spinner_ != nullptr ? 1 : 0);
}
std::size_t ThreadPoolImpl::queued() const {
  const std::lock_guard lock(mutex_);
  return queued_;
}
std::size_t ThreadPoolImpl::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}
bool ThreadPoolImpl::is_shut_down() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

}  // namespace detail
}  // namespace fibrio
