// What: things a model thread can wait for, to stand for what parks and unparks real threads. All of them
// synchronise as the kernel's do: who waits happens after those who woke him. None of them is a seq_cst
// operation. A thread that waits for ever is reported as a deadlock.
#pragma once

#include <cstdint>

#include "support/model/engine.hpp"

namespace fibrio::model {

namespace detail {

class Waiting {
 public:
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 protected:
  Waiting(Kind kind, std::uint32_t tokens, Where where)
      : handle_(Engine::running().make(kind, this, tokens, where)) {}
  ~Waiting() { Engine::destroy(handle_, this, Where::current()); }

  void give(std::uint32_t tokens, Where where) { Engine::running().give(handle_, this, tokens, where); }
  void take(Where where) { static_cast<void>(Engine::running().take(handle_, this, false, where)); }
  bool take_timed(Where where) { return Engine::running().take(handle_, this, true, where); }
  bool try_take(Where where) { return Engine::running().try_take(handle_, this, where); }
  void set_name(const char* name) { Engine::running().set_name(handle_, this, name); }

 private:
  Engine::Handle handle_;
};

}  // namespace detail

// An eventfd: signals are not counted, a wait takes them all.
class Event : private detail::Waiting {
 public:
  Event(Where where = Where::current()) : Waiting(detail::Kind::kEvent, 0, where) {}
  void named(const char* name) { set_name(name); }

  void signal(Where where = Where::current()) noexcept { give(1, where); }
  // Waits until it is signalled, and clears it.
  void wait(Where where = Where::current()) noexcept { take(where); }
  // The same, but may time out (false), at most Options::timeout_bound times in one execution.
  bool wait_timed(Where where = Where::current()) noexcept { return take_timed(where); }
  // Clears it and says whether it was signalled.
  bool try_wait(Where where = Where::current()) noexcept { return try_take(where); }
};

class Semaphore : private detail::Waiting {
 public:
  explicit Semaphore(std::uint32_t tokens, Where where = Where::current())
      : Waiting(detail::Kind::kSemaphore, tokens, where) {}
  void named(const char* name) { set_name(name); }

  void release(std::uint32_t tokens = 1, Where where = Where::current()) noexcept { give(tokens, where); }
  void acquire(Where where = Where::current()) noexcept { take(where); }
  bool try_acquire(Where where = Where::current()) noexcept { return try_take(where); }
};

// For code that is a template over its lock too: cheaper to search than a spin lock.
class Mutex : private detail::Waiting {
 public:
  Mutex(Where where = Where::current()) : Waiting(detail::Kind::kSemaphore, 1, where) {}
  void named(const char* name) { set_name(name); }

  void lock(Where where = Where::current()) noexcept { take(where); }
  bool try_lock(Where where = Where::current()) noexcept { return try_take(where); }
  void unlock(Where where = Where::current()) noexcept { give(1, where); }
};

}  // namespace fibrio::model
