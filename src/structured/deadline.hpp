// What: a time limit on what the calling task does until the object goes: at the deadline the task gets one
// cancellation request, tagged by this object, which takes exactly that one back. Threads: made and destroyed
// by the task. Source: asyncio.timeout.
//
//   Deadline deadline(5s);
//   try { work(); } catch (const CancelledError&) { deadline.rethrow_as_timeout(); throw; }
#pragma once

#include <atomic>
#include <memory>

#include "fibrio/clock.hpp"
#include "fibrio/tasks.hpp"
#include "task/callback.hpp"

namespace fibrio::detail {

class Deadline {
 public:
  // Negative: none. Throws RuntimeError outside a task.
  explicit Deadline(Duration delay);
  ~Deadline() { finish(); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  // In a handler of CancelledError: throws TimeoutError if the deadline alone was the reason. An external
  // cancel is never turned into a timeout.
  void rethrow_as_timeout();

 private:
  enum class State { armed, firing, fired, finished };
  struct Shared {
    std::atomic<State> state{State::armed};
    AnyTask task;
  };
  // Takes the request back if there was one; returns whether only requests from before are left then.
  bool finish() noexcept;

  int requests_before_ = 0;
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<CallbackState> timer_;
};

}  // namespace fibrio::detail
