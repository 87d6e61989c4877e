// What: the part of ThreadPool that its threads share: a FIFO of calls and threads that come and go with it.
// Threads: any, every function.
// Protocol: 1. A call is in the queue, or taken out of it by exactly one of: a thread that runs it, the
//      cancel of its future (on_done), a shutdown that cancels the queue. Who takes it, under mutex_,
//      destroys its callable; so each call is run, or its future cancelled, exactly once.
//   2. A call is owned twice: by who took it, and by its place in the future's list of waiters. A thread
//      leaves the list by remove_waiter before it runs the call; if that fails the future is done, on_done is
//      told or being told, and the call is not run. The last of both owners frees it.
//   3. Queue not empty => a thread is alive, and will look at the queue before it leaves. Hence threads are
//      created under mutex_: a creation that fails (EAGAIN) with no other thread alive refuses its own call,
//      and no other call can have relied on it meanwhile.
//   4. Idle threads are a stack: the latest is woken first, so that the ones a burst left over stay idle and
//      leave after keep_alive. Only what is off the stack has been woken.
//   5. A thread that leaves joins the one that left before it; the last is joined by shutdown (or detaches
//      itself when it frees the pool). After a shutdown that waited, the threads are really gone; after end, those
//      that ran no call.
//   6. Order at the end of a call: its callable is destroyed, its future done, the pool's handle on the
//      future dropped, its hold on a virtual clock released: time never jumps before the result is there.
//   7. Calls that come right after one another: a thread whose last wait was shorter than kSpinNs looks for the next
//      call for as long, without sleeping, one thread at a time (spinner_). Who queues a call takes the spinner,
//      under mutex_, or else wakes an idle thread. The worker whose task called does the
//      same, if calls here are that short (Worker::expect_completion). So a short call costs no sleep on either
//      side, where waking a halted CPU takes 35 to 70 us; and if it takes longer, nobody looks a second time.
//   User code (calls, destructors of callables) runs without any lock. Lock order: mutex_, then the lock bit
//   of a future's word; FutureState tells waiters with that bit free.
// Rejected: std::jthread (cannot report EAGAIN without exceptions in the way, no signal mask at birth);
//   detached threads (a process that ends, or a leak checker, would meet them half gone); one condition
//   variable for all (it wakes the longest idle as a rule: a trickle of calls keeps every thread of a burst
//   alive for ever); creating threads outside of the lock (see 3); lock-free queues (an offloaded call costs
//   two thread switches).
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/intrusive_list.hpp"
#include "fibrio/clock.hpp"
#include "fibrio/futures.hpp"
#include "fibrio/threads.hpp"

namespace fibrio::detail {

class ThreadPoolImpl : public std::enable_shared_from_this<ThreadPoolImpl> {
 public:
  static constexpr std::size_t kMaxThreads = 4096;
  using CreateThread = int (*)(pthread_t* thread, const pthread_attr_t* attributes, void* (*main)(void*),
                               void* argument);

  // To be held by a shared_ptr. `max_threads` 1 to kMaxThreads.
  ThreadPoolImpl(std::size_t max_threads, Duration keep_alive, std::string name);
  ~ThreadPoolImpl();
  ThreadPoolImpl(const ThreadPoolImpl&) = delete;
  ThreadPoolImpl& operator=(const ThreadPoolImpl&) = delete;

  void enqueue(const AnyFuture& future, UniqueFunction<void()> call);
  std::size_t shutdown(bool wait, Duration timeout, bool cancel_queued);
  // The end of the loop whose pool it is: refuses new calls, cancels those that wait, and returns when every thread
  // that runs no call is gone from the system. For the calls it waits at most so long, and not at all on a worker.
  void end(Duration timeout) noexcept;
  // The destructor's shutdown: waits without a limit, but not after an explicit one, and never throws.
  void close() noexcept;

  [[nodiscard]] std::size_t max_threads() const noexcept { return max_threads_; }
  [[nodiscard]] std::size_t threads() const;
  [[nodiscard]] std::size_t idle() const;
  [[nodiscard]] std::size_t queued() const;
  [[nodiscard]] std::size_t running() const;
  [[nodiscard]] bool is_shut_down() const;

  // For tests: what stands in for pthread_create.
  void set_create_thread(CreateThread create);

 private:
  struct Call;
  struct IdleThread;
  struct Spinner;
  struct Thread;
  struct Birth;
  // A thread that has left, or is about to end.
  struct Leaver {
    pthread_t id;
    pid_t number;  // the system's
  };

  static void* thread_main(void* birth) noexcept;
  static void on_future_done(FutureWaiter& waiter, FutureState& future) noexcept;

  [[nodiscard]] int start_thread_locked() noexcept;
  void run_thread(std::size_t number) noexcept;
  void run_calls(std::unique_lock<std::mutex>& lock) noexcept;
  void run(Call* call) noexcept;
  [[nodiscard]] bool wait_for_call(std::unique_lock<std::mutex>& lock, bool spins) noexcept;
  [[nodiscard]] bool spin_for_call(std::unique_lock<std::mutex>& lock) noexcept;
  void take_spinner_locked() noexcept;
  void release_owner(Call* call) noexcept;

  void stop(bool cancel_queued) noexcept;
  [[nodiscard]] bool is_own_thread_locked() noexcept;
  void wait_until_locked(std::unique_lock<std::mutex>& lock, std::size_t alive, Duration timeout);
  void wait_in_thread(Duration timeout);
  void wait_in_task(Duration timeout);
  void join_last_left() noexcept;
  static void join(const Leaver& leaver) noexcept;

  const std::size_t max_threads_;
  const Duration keep_alive_;
  const std::string name_;

  mutable std::mutex mutex_;  // guards what follows
  IntrusiveList<Call> queue_;
  std::size_t queued_ = 0;
  std::size_t running_ = 0;  // calls taken by threads and not ended
  IntrusiveList<Thread> threads_;
  std::size_t alive_ = 0;  // threads created and not left
  std::size_t idle_count_ = 0;
  IntrusiveList<IdleThread> idle_;  // latest first
  Spinner* spinner_ = nullptr;      // looks for a call without sleeping; on its thread's stack
  std::size_t next_number_ = 0;
  bool stopping_ = false;
  std::optional<Leaver> last_left_;      // to be joined
  std::condition_variable some_left_;    // for who waits for that, once stopping_
  std::vector<Future<>> waiting_tasks_;  // done when alive_ is 0; only once stopping_
  CreateThread create_thread_;

  const bool may_spin_;                            // there is another CPU for who makes the next call
  std::atomic<std::int64_t> last_call_ns_{kLong};  // how long the last call took; relaxed: a guess
  static constexpr std::int64_t kLong = INT64_MAX;
};

// The way from the public class to this one, for loop/, net/ and tests.
struct ThreadPoolAccess {
  [[nodiscard]] static ThreadPoolImpl& impl(ThreadPool& pool) noexcept { return *pool.impl_; }
};

}  // namespace fibrio::detail
