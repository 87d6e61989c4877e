// What: waiting for fds that are not fibrio's: wait_readable/wait_writable, add_reader/add_writer.
//
// Threads: any.
//
// Protocol. A second epoll instance per loop, itself an fd in worker 0's reactor, so that it is polled, and
// claimed, with that. Every fd in it is armed for one event (EPOLLONESHOT) of exactly what somebody wants,
// and armed again when there still is an interest after it fired; so it behaves as level-triggered, costs one
// system call per wait, and an fd that was closed, or shared with a child, fires at most once more, for
// nobody: epoll's data is (fd, generation). The lock guards the map; a waiter leaves it before its wait
// returns. A callback is armed again after it ran.
//
// Rejected: the reactor's own epoll (an fd can be in it once, and it is edge-triggered); plain level
// triggering (an event that nobody handles at once is a busy loop, and every poll of every worker sees it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "poll/poller.hpp"
#include "sched/reactor.hpp"
#include "task/callback.hpp"

namespace fibrio::detail {

class FdWatch {
 public:
  explicit FdWatch(Scheduler& scheduler) noexcept : scheduler_(scheduler) {}
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  // Suspends the calling task until `fd` is ready. Throws as wait_readable.
  void wait(int fd, Direction direction);

  // add_reader, add_writer. Throws std::system_error. Return the callback that is out; null: there was none.
  std::shared_ptr<void> set_callback(int fd, Direction direction, std::function<void()> callback);
  std::shared_ptr<void> remove_callback(int fd, Direction direction);

  // Drops all callbacks; no task waits any more.
  void close() noexcept;

  // How many fds somebody waits for now.
  [[nodiscard]] std::size_t size() const;

 private:
  friend struct FdWatchWait;

  // A reader or writer callback: shared with its queued calls.
  struct Watcher : StandingCallback {
    using StandingCallback::StandingCallback;
    bool is_queued = false;  // guarded by lock_
  };
  struct Side {
    FdWaiter* waiters = nullptr;
    std::shared_ptr<Watcher> watcher;
    [[nodiscard]] bool wants() const noexcept {
      return waiters != nullptr || (watcher != nullptr && !watcher->is_queued);
    }
  };
  struct Entry {
    Side sides[2];
    std::uint32_t generation = 0;  // how often the number was added: tells events of a former file apart
    bool is_added = false;         // epoll knew it when it was armed last
    bool is_armed = false;         // may fire
    bool has_interest = false;     // counts as activity while it has
  };

  void start_locked();
  [[nodiscard]] int arm_locked(int fd, Entry& entry) noexcept;
  static void on_event(void* context, RunnableChain& ready) noexcept;
  // Tasks to be made ready, and at most two callbacks to be scheduled: by the caller, after the lock.
  std::size_t dispatch_locked(const epoll_event& event, RunnableChain& ready,
                              std::shared_ptr<CallbackState>* calls);
  void run_callback(int fd, Direction direction, const std::shared_ptr<Watcher>& watcher);

  Scheduler& scheduler_;
  mutable std::mutex lock_;  // guards what follows
  std::unique_ptr<Poller> poller_;
  const FdListener listener_{&FdWatch::on_event, this};
  Registration* registration_ = nullptr;
  std::unordered_map<int, Entry> entries_;
  bool closed_ = false;
};

}  // namespace fibrio::detail
