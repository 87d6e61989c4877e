// What: the connections of a session: how many there are, those that wait for a next request, and who waits
//   for a place.
// Threads: any task of the session's loop; all state is under `mutex_`.
// A kept connection is used again only if it is quiet, which is asked without the mutex, by the task that has it.
// Invariant: 1. count = idle + leased, in total and for each origin; a Lease is one that is counted. 2.
//   Nobody waits who could go: a place or a connection that comes free is given to the first one who may have
//   it, before the mutex is left, and only that one is woken; a waiter that is cancelled then passes it on.
//   3. An idle connection is watched: a timer, armed while there are any, starts a task for each that has been idle
//   for kWatchAfter, which reads. It ends with what the server sends or with its end, and takes the connection out.
//   Only the one that takes a connection out of idle_ may use it: it sets Watch::is_taken under the mutex, and then
//   ends the task and waits for that, unless the task has not begun: such a one sees is_taken and reads nothing.
//   Neither timer nor task keeps the pool alive.
// Rejected: a task from the first moment on (two switches per request more); waking all who wait, to look again: quadratic, and who came last could be first.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/session.hpp"

namespace fibrio::http::detail {

class ConnectionPool : public std::enable_shared_from_this<ConnectionPool> {
 public:
  class Lease;

  explicit ConnectionPool(std::shared_ptr<const SessionOptions> options) : options_(std::move(options)) {}

  // Returns a connection to `url`'s origin, a kept one if there is one and `may_reuse`; waits for a place and
  // for the connection. Throws: RuntimeError after close().
  Lease lease(const Url& url, bool may_reuse);
  [[nodiscard]] std::size_t idle() const;
  void close();

 private:
  struct Waiter;
  struct Origin;
  struct Watch {
    bool is_taken = false;             // under the mutex
    std::optional<AnyTask> task = {};  // that reads; under the mutex until is_taken, then for good
    bool has_heard = false;            // by the task, before it is done
  };
  struct Idle {
    std::shared_ptr<ByteStream> stream;
    TimePoint since;
    TimePoint until;
    Origin* origin;
    std::shared_ptr<Watch> watch = {};  // cancelled by the destructor

    Idle(std::shared_ptr<ByteStream> its_stream, TimePoint now, TimePoint its_end, Origin* its_origin)
        : stream(std::move(its_stream)), since(now), until(its_end), origin(its_origin) {}
    Idle(Idle&&) noexcept = default;
    Idle& operator=(Idle&&) = delete;
    ~Idle();
  };
  using Idles = std::list<Idle>;
  // Who waits, by number: first come, first served. Nodes move between these maps without an allocation.
  using Waiting = std::map<std::uint64_t, Waiter*>;
  struct Origin {
    const std::string* name = nullptr;
    std::deque<Idles::iterator> idle;  // the one used last at the back
    std::size_t count = 0;
    Waiting waiting;       // all but the one in `next_`
    bool is_next = false;  // its first waiter is in `next_`
  };

  Lease wait_for_place(const std::string& name);
  void wait_for_turn(Waiter& waiter, Lease& lease);
  void replace_by_idle(Lease& lease);
  std::unique_ptr<ByteStream> connect(const Url& url) const;
  void give_back(Origin& origin, std::shared_ptr<ByteStream> stream);
  // Calls on_timer after `delay`, unless `due_` is not `due` any more: then somebody else has armed it anew.
  void arm(Duration delay, TimePoint due);
  void on_timer();
  static void watch(const std::weak_ptr<ConnectionPool>& pool, std::shared_ptr<ByteStream> stream,
                    const std::shared_ptr<Watch>& watch);
  void remove(const std::shared_ptr<Watch>& watch);

  // Those with `closing` move connections there, which are closed without the lock.
  Origin& origin_locked(const std::string& name);
  void forget_if_unused_locked(Origin& origin);
  // The watch is the caller's to end.
  Idle take_idle_locked(Idles::iterator idle);
  void close_idle_locked(Idles::iterator idle, Idles& closing);
  void expire_locked(Idles& closing);
  [[nodiscard]] bool is_full_locked(const Origin& origin) const;
  bool take_place_locked(Origin& origin, Idles& closing);
  void choose_next_locked(Origin& origin);
  void serve_waiting_locked(Idles& closing);
  void leave_locked(const Waiter& waiter);

  const std::shared_ptr<const SessionOptions> options_;
  mutable std::mutex mutex_;  // never held over a wait
  std::map<std::string, Origin> origins_;
  Idles idle_;  // the one idle for the longest time first
  std::size_t count_ = 0;
  bool is_closed_ = false;
  TimePoint due_ = TimePoint::max();  // of timer_
  TimerHandle timer_;
  std::uint64_t next_number_ = 0;
  Waiting next_;  // the first waiter of each origin whose own limit lets it go
};

// A place in the pool, with a stream once it is connected.
class ConnectionPool::Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept
      : stream(std::move(other.stream)),
        is_reused(other.is_reused),
        watch_(std::move(other.watch_)),
        pool_(std::move(other.pool_)),
        origin_(other.origin_) {}
  Lease& operator=(Lease&&) = delete;
  ~Lease() {
    if (pool_ != nullptr) pool_->give_back(*origin_, nullptr);
  }

  // Gives the connection back for further requests.
  void keep() {
    if (pool_ == nullptr) return;
    pool_->give_back(*origin_, std::move(stream));
    pool_.reset();
  }

  std::shared_ptr<ByteStream> stream;  // shared with the task that sends a body
  bool is_reused = false;

 private:
  friend class ConnectionPool;
  void adopt(std::shared_ptr<ConnectionPool> pool, Origin& origin) {
    pool_ = std::move(pool);
    origin_ = &origin;
  }
  void adopt_kept(std::shared_ptr<ByteStream> kept, std::shared_ptr<Watch> watch) {
    stream = std::move(kept);
    watch_ = std::move(watch);
    is_reused = stream != nullptr;
  }
  // Ends the task that watches the stream. False: it has heard of the server.
  bool end_watch() noexcept;

  std::shared_ptr<Watch> watch_;
  std::shared_ptr<ConnectionPool> pool_;
  Origin* origin_ = nullptr;  // lives while it is counted
};

}  // namespace fibrio::http::detail
