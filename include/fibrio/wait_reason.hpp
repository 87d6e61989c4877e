// What a suspended task waits for.
#pragma once

#include <cstdint>

namespace fibrio {

enum class WaitReason : std::uint8_t {
  kNothing,
  kYield,
  kSleep,
  kFuture,       // a plain future: somebody sets it
  kThread,       // a call on a thread pool
  kTask,         // the end of another task
  kGather,       // gather, of a future or task
  kWait,         // wait, or the end of what wait_for cancelled
  kShield,       // shield
  kAsCompleted,  // the next one of as_completed
  kTaskGroup,    // the children of its task group
  kReadable,
  kWritable,
  kLock,
  kEvent,
  kCondition,
  kSemaphore,
  kBarrier,
  kQueue,
  kAwaitable,  // a C++20 awaiter
  kStatic,     // the initialiser of a static variable, in another task
};

// Returns it in words: "a lock", "a task".
[[nodiscard]] const char* to_string(WaitReason reason) noexcept;

}  // namespace fibrio
