// What: one worker's file descriptors: registrations, and what epoll says of them.
//
// Threads: any. Its worker polls it; an idle worker may too, when the owner is busy (design, D10).
//
// Protocol.
//  1. An fd is registered once, edge-triggered, for its life, and is taken out before it is closed. Its slot is
//     of a table that is never freed or moved while the reactor lives; epoll's data is (slot, generation), and
//     an event of another generation is dropped: a reused fd never gets a stale event. It is registered for
//     what is read (IN | PRI | RDHUP), and from the first wait for room on for OUT as well: an event of a
//     readable fd would otherwise always say that it is writable, too. EPOLL_CTL_MOD reports what is true by
//     then, so nothing that came before it is missed.
//  2. The registration's lock guards its list of waiters and `open`. A task waits by listing a waiter under
//     the lock if the direction is not ready; an event marks ready, takes the waiters and makes them ready
//     after the lock is released.
//  3. A waiter leaves the list before its wait returns (wait() takes the lock again if it was cancelled), so
//     nobody touches a frame that is gone.
//
// Rejected: re-arming per wait (a system call per wait); an epoll of the whole loop (its lock is shared by
// all cores).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/atomic.hpp"
#include "base/spin_lock.hpp"
#include "poll/poller.hpp"
#include "poll/readiness.hpp"
#include "queue/runnable.hpp"
#include "sched/fork.hpp"
#include "sched/task_core.hpp"

namespace fibrio::detail {

class Reactor;
class Worker;

enum class Direction : std::uint8_t { read = 0, write = 1 };

// A task that waits for a direction of an fd; on its own stack.
struct FdWaiter {
  FdWaiter* next = nullptr;
  TaskCore* core = nullptr;
  bool listed = false;  // guarded by the registration's lock
};

// Called instead of waking tasks, for parts of the library that watch many fds behind one (no lock held).
struct FdListener {
  void (*on_event)(void* context, RunnableChain& ready) noexcept = nullptr;
  void* context = nullptr;
};

class alignas(kCacheLine) Registration {
 public:
  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] Readiness<>& readiness(Direction direction) noexcept { return readiness_[index(direction)]; }
  [[nodiscard]] bool is_open() const noexcept { return open_.load(std::memory_order_acquire); }

  // Suspends the task that runs on `worker` until the direction is ready (or the registration is closed: look
  // at is_open); `worker` is then the one it is on. False: the wait was cancelled (the caller throws).
  // In sched/fd_wait.hpp.
  [[nodiscard]] bool wait(Worker*& worker, Direction direction);

 private:
  friend class Reactor;
  friend struct FdWait;

  static std::size_t index(Direction direction) noexcept { return static_cast<std::size_t>(direction); }

  // Takes all waiters of a direction that can still be woken; needs the lock.
  void take_waiters_locked(Direction direction, RunnableChain& ready) noexcept;
  void unlist_locked(FdWaiter& waiter, Direction direction) noexcept;
  void ask_for_room() noexcept;

  SpinLock lock_;
  std::atomic<bool> open_{false};
  std::atomic<bool> asks_for_room_{false};  // registered for OUT
  std::uint32_t generation_ = 0;            // guarded by the lock
  std::uint32_t slot_ = 0;
  int fd_ = -1;
  Reactor* reactor_ = nullptr;
  const FdListener* listener_ = nullptr;
  Readiness<> readiness_[2];
  FdWaiter* waiters_[2] = {};  // newest first; guarded by the lock
  Registration* next_free_ = nullptr;
};
static_assert(sizeof(Registration) == kCacheLine);

class Reactor {
 public:
  Reactor() = default;
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  ~Reactor();

  // Registers an open, non-blocking fd. Null and -errno in `error` if epoll refuses. Throws std::bad_alloc.
  [[nodiscard]] Registration* add(int fd, int& error, std::uint32_t events = kReadEvents);
  // For a listener, which must outlive the registration.
  [[nodiscard]] Registration* add(int fd, int& error, std::uint32_t events, const FdListener* listener);
  // Takes it out of epoll and makes its waiters ready; the caller then closes the fd. The registration must
  // not be used any more; tasks still inside wait() get out by themselves.
  static void remove(Registration* registration, RunnableChain& ready) noexcept;
  // Its slot may be used again: nobody refers to it any more.
  static void recycle(Registration* registration) noexcept;

  // Polls; what became ready is appended to `ready`. Returns true if the wake-up eventfd was among the
  // events.
  bool poll(std::int64_t timeout_ns, RunnableChain& ready) noexcept;
  // See Poller; before the owner polls.
  void set_timer_slack(int slack_ns) noexcept { poller_.set_timer_slack(slack_ns); }
  [[nodiscard]] Poller& poller() noexcept { return poller_; }

  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  static constexpr std::uint32_t kReadEvents = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET;
  static constexpr std::uint32_t kAllEvents = kReadEvents | EPOLLOUT;

 private:
  static constexpr std::uint32_t kChunkSlots = 1024;
  static constexpr std::uint32_t kChunks =
      4096;  // 4 Mi fds per worker; more than fs.nr_open allows by default
  static constexpr int kEventsPerPoll = 256;

  [[nodiscard]] Registration* take_slot();
  [[nodiscard]] Registration* at(std::uint32_t slot) const noexcept;
  void dispatch(const epoll_event& event, RunnableChain& ready) noexcept;

  Poller poller_;
  const unsigned forks_ = fork_count();
  SpinLock lock_;  // guards the free list and the making of chunks
  Registration* free_ = nullptr;
  std::uint32_t slots_made_ = 0;
  // Writer: take_slot under the lock (release). Readers: dispatch (acquire).
  std::unique_ptr<std::atomic<Registration*>[]> chunks_ =
      std::make_unique<std::atomic<Registration*>[]>(kChunks);
  std::atomic<std::size_t> size_{0};
};

}  // namespace fibrio::detail
