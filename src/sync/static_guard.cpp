// What: what a compiler calls around the initialiser of a function-local static, in place of libstdc++'s own, and
// pthread_once, on which std::call_once stands, in place of glibc's: a task that needs what another is making is
// suspended, where those block the thread. With them the worker that blocks may be the one which the initialiser, once
// it has waited, needs to go on: the loop stands still.
//
// Threads: any, with or without a loop.
//
// Protocol. The words of statics, their bits and futex calls are those of libstdc++'s guard.cc, so that both may work on
// one variable (a shared library may have its own): 0 -> pending -> done, or back to 0 if the initialiser throws;
// `waiting` is set beside pending by whoever waits, and makes the end of pending wake them. Those of pthread_once go the
// same way; as in glibc, what a parent process was making at a fork is free in the child.
//  1. A plain thread waits on the word, as there.
//  2. A task sets `waiting` and joins the one list of all such tasks, under the list's lock. Whoever ends pending and
//     finds `waiting` takes the lock after that: it sees the task, and wakes the whole list. Each looks at its word.
//  3. Cancellation is masked meanwhile: compilers may take __cxa_guard_acquire for a function that does not throw.
//  4. A task is noted with the variable that it makes, as long as there is room: one that comes to it again, and a
//     callback that would block the one worker which could end the wait, get a RuntimeError instead of no end.
//     (Around statics it ends the process, as libstdc++'s recursive_init_error: see 3.)
//  5. std::call_once passes its callable in two thread-locals; a task that waited here may be on another thread, where
//     it puts back what it had found.
//
// Linked statically into the program, the definitions here come before libstdc++'s; its other users in the process
// find them too. ThreadSanitizer has its own and needs it. -DFIBRIO_STATIC_GUARDS=OFF leaves all this out.
// Rejected: a check of who waits, with a report (the loop would still stand still).
#include <cxxabi.h>

#include "base/sanitizers.hpp"

#if defined(FIBRIO_STATIC_GUARDS) && defined(__GLIBCXX__) && defined(__GLIBC__) && !defined(FIBRIO_TSAN)

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <mutex>

#include "fibrio/errors.hpp"
#include "fibrio/tasks.hpp"
#include "sched/scheduler.hpp"
#include "sync/sync_wait.hpp"

namespace fibrio::detail {

namespace {

struct Bits {
  int pending;
  int waiting;
  int done;
  // Nobody is making it; perhaps a parent process was.
  [[nodiscard]] bool is_pending(int seen) const noexcept { return (seen & ~waiting) == pending; }
};

constexpr Bits kGuard{.pending = 0x100, .waiting = 0x10000, .done = 1};

constinit std::atomic<int> forks{0};
// Bit 0 and, by 4, the number of forks, as in glibc, whose bit for "done" this is.
Bits once_bits() noexcept {
  constexpr int kForks = 0xffffff;
  return {
      .pending = 1 | (forks.load(std::memory_order_relaxed) & kForks) << 2, .waiting = 1 << 30, .done = 2};
}

// A task that makes a static.
struct Maker {
  const int* word = nullptr;  // null: free
  const TaskCore* task = nullptr;
  const Scheduler* scheduler = nullptr;
};
constexpr std::size_t kMakers = 64;  // a guess; those beyond are not noted

constinit SpinLock spin;
constinit WaitQueue* waiting_tasks = nullptr;  // never destroyed: statics are made while others already go
constinit Maker makers[kMakers];               // guarded by spin
[[maybe_unused]] const int held_over_forks = ::pthread_atfork([] { spin.lock(); }, [] { spin.unlock(); },
                                                              [] {
                                                                forks.fetch_add(1, std::memory_order_relaxed);
                                                                spin.unlock();
                                                              });

// With spin held.
WaitQueue& queue_locked() noexcept {
  alignas(WaitQueue) static constinit std::byte memory[sizeof(WaitQueue)]{};
  if (waiting_tasks == nullptr) waiting_tasks = new (memory) WaitQueue;
  return *waiting_tasks;
}

void note_maker(const int* word) noexcept {
  const Worker* const worker = this_worker();
  if (worker == nullptr || worker->current == nullptr) return;
  const std::lock_guard guard(spin);
  for (Maker& maker : makers) {
    if (maker.word != nullptr) continue;
    maker = {word, worker->current, &worker->scheduler};
    return;
  }
}

void forget_maker(const int* word) noexcept {
  const std::lock_guard guard(spin);
  for (Maker& maker : makers) {
    if (maker.word == word) maker = {};
  }
}

Maker maker_of(const int* word) noexcept {
  const std::lock_guard guard(spin);
  for (const Maker& maker : makers) {
    if (maker.word == word) return maker;
  }
  return {};
}

// False: it is not pending any more.
bool announce(std::atomic_ref<int> word, Bits bits) noexcept {
  int seen = word.load(std::memory_order_acquire);
  for (;;) {
    if (!bits.is_pending(seen)) return false;
    if ((seen & bits.waiting) != 0) return true;
    if (word.compare_exchange_weak(seen, seen | bits.waiting, std::memory_order_acq_rel,
                                   std::memory_order_acquire))
      return true;
  }
}

void wait_in_task(int* address, Bits bits) {
  const CancelMask mask;
  SyncWait wait("the initialiser of a static variable", WaitReason::kStatic);
  {
    const std::lock_guard guard(spin);
    if (!announce(std::atomic_ref(*address), bits)) return;
    queue_locked().add(wait);
  }
  wait.wait();  // masked: until it was woken
}

void wait_until_changed(int* address, Bits bits) {
  const Worker* const worker = this_worker();
  const Maker maker = maker_of(address);
  if (worker != nullptr && worker->current != nullptr) {
    if (maker.task == static_cast<const TaskCore*>(worker->current))
      throw RuntimeError(
          "what is made once (a static variable, call_once) needs itself: its initialiser came to it");
    return wait_in_task(address, bits);
  }
  if (worker != nullptr && maker.scheduler == &worker->scheduler && worker->scheduler.size() == 1) {
    throw RuntimeError(
        "a callback needs what a task is making (a static variable, call_once): callbacks cannot wait; make "
        "it before, "
        "or use it in a task");
  }
  if (announce(std::atomic_ref(*address), bits))
    ::syscall(SYS_futex, address, FUTEX_WAIT, bits.pending | bits.waiting, nullptr, nullptr, 0);
}

// True: the caller makes it, and calls `end`.
bool begin(int* address, Bits bits) {
  const std::atomic_ref word(*address);
  int seen = word.load(std::memory_order_acquire);
  for (;;) {
    if ((seen & bits.done) != 0) return false;
    if (bits.is_pending(seen)) {
      wait_until_changed(address, bits);
      seen = word.load(std::memory_order_acquire);
    } else if (word.compare_exchange_weak(seen, bits.pending, std::memory_order_acq_rel,
                                          std::memory_order_acquire)) {
      note_maker(address);
      return true;
    }
  }
}

void end(int* address, Bits bits, int result) noexcept {
  forget_maker(address);
  // release: partner of the acquire of who finds it done. acquire: after who announced itself.
  if ((std::atomic_ref(*address).exchange(result, std::memory_order_acq_rel) & bits.waiting) == 0) return;
  ::syscall(SYS_futex, address, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  Woken woken;
  {
    const std::lock_guard guard(spin);
    queue_locked().wake_all(woken);
  }
  make_ready(woken);
}

// What std::call_once has put into thread-locals. Functions of their own: see this_worker.hpp.
struct OnceCall {
  void* callable;
  void (*call)();
};
[[gnu::noinline]] OnceCall once_call_of_thread() noexcept {
  asm volatile("" ::: "memory");
  return {std::__once_callable, std::__once_call};
}
[[gnu::noinline]] void put_back(OnceCall call) noexcept {
  asm volatile("" ::: "memory");
  std::__once_callable = call.callable;
  std::__once_call = call.call;
}

void call_once_here(int* address, void (*function)()) {
  if ((std::atomic_ref(*address).load(std::memory_order_acquire) & once_bits().done) != 0) return;
  const OnceCall call = once_call_of_thread();
  const Bits bits = once_bits();
  if (!begin(address, bits)) return;
  put_back(call);
  try {
    function();
  } catch (...) {  // also a thread's cancellation
    end(address, bits, 0);
    throw;
  }
  end(address, bits, bits.done);
}

}  // namespace

}  // namespace fibrio::detail

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" {

[[gnu::visibility("default")]] int pthread_once(pthread_once_t* control, void (*function)()) {
  static_assert(sizeof(pthread_once_t) == sizeof(int));
  fibrio::detail::call_once_here(control, function);
  return 0;
}

}  // extern "C"

namespace __cxxabiv1 {
extern "C" {

[[gnu::visibility("default")]] int __cxa_guard_acquire(__guard* guard) {
  return fibrio::detail::begin(reinterpret_cast<int*>(guard), fibrio::detail::kGuard) ? 1 : 0;
}
[[gnu::visibility("default")]] void __cxa_guard_release(__guard* guard) noexcept {
  fibrio::detail::end(reinterpret_cast<int*>(guard), fibrio::detail::kGuard, fibrio::detail::kGuard.done);
}
[[gnu::visibility("default")]] void __cxa_guard_abort(__guard* guard) noexcept {
  fibrio::detail::end(reinterpret_cast<int*>(guard), fibrio::detail::kGuard, 0);
}

}  // extern "C"
}  // namespace __cxxabiv1
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

#endif
