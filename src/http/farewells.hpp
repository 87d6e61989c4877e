// What: what is to hear at once that a server's shutdown begins: its WebSockets.
// Threads: tasks, on any worker.
// Invariant: on_shutdown() is called at most once per member, under the member's lock, and never after its Membership's
//   destructor has taken that lock. A member that comes after the begin hears of it in its constructor.
// Rejected: a task per member that waits for the Event (a stack for each idle WebSocket).
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "fibrio/fibrio.hpp"

namespace fibrio::http::detail {

class ShutdownListener {
 public:
  // Waits: no.
  virtual void on_shutdown() noexcept = 0;

 protected:
  ~ShutdownListener() = default;
};

class Farewells {
 private:
  struct Entry {
    Lock lock;  // a task's lock: on_shutdown() may end in a stream that the user wrote
    ShutdownListener* listener;
  };
  using Entries = std::list<std::shared_ptr<Entry>>;

 public:
  class Membership {
   public:
    Membership(Farewells& table, ShutdownListener& listener) : table_(table) {
      auto entry = std::make_shared<Entry>();
      entry->listener = &listener;
      bool has_begun = false;
      {
        const std::lock_guard lock(table_.mutex_);
        has_begun = table_.has_begun_;
        at_ = table_.entries_.insert(table_.entries_.end(), std::move(entry));
      }
      if (has_begun) listener.on_shutdown();
    }
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;
    // Waits: until an on_shutdown() that has begun is over.
    ~Membership() {
      const CancelMask mask;
      {
        const std::lock_guard lock((*at_)->lock);
        (*at_)->listener = nullptr;
      }
      const std::lock_guard lock(table_.mutex_);
      table_.entries_.erase(at_);
    }

   private:
    Farewells& table_;
    Entries::iterator at_;
  };

  // Waits: for members that leave.
  void tell_all() {
    std::vector<std::shared_ptr<Entry>> entries;
    {
      const std::lock_guard lock(mutex_);
      has_begun_ = true;
      entries.assign(entries_.begin(), entries_.end());
    }
    for (const std::shared_ptr<Entry>& entry : entries) {
      const std::lock_guard lock(entry->lock);
      if (entry->listener != nullptr) entry->listener->on_shutdown();
    }
  }

 private:
  std::mutex mutex_;  // never held over a wait or a call
  Entries entries_;
  bool has_begun_ = false;
};

}  // namespace fibrio::http::detail
