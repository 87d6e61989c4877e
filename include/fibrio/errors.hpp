// The exceptions that fibrio throws, under asyncio's names.
//
// Errors of the operating system are not here: they are std::system_error, whose text names the call.
// CancelledError is deliberately not a std::exception: `catch (const std::exception&)` in the code of a
// task must not swallow a cancellation. Code that catches everything with `catch (...)` should rethrow.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace fibrio {

// Thrown out of the wait that a `cancel()` interrupts. Catch it to clean up, then rethrow it; a task that
// swallows it goes on living, as in asyncio.
class CancelledError {
 public:
  CancelledError() = default;
  explicit CancelledError(std::string message) : message_(std::move(message)) {}
  // The text given to cancel(), empty if none was.
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] const char* what() const noexcept {
    return message_.empty() ? "the task was cancelled" : message_.c_str();
  }

 private:
  std::string message_;
};

// Misuse that depends on the state of the program: waiting outside a task, a second run inside a loop.
class RuntimeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A wait lasted longer than it was allowed to.
class TimeoutError : public std::runtime_error {
 public:
  TimeoutError() : std::runtime_error("timed out") {}
  using std::runtime_error::runtime_error;
};

// The result of a pending future was asked for, or a future was completed twice.
class InvalidStateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// With virtual time: nothing is ready, no timer is armed, and what is waited for can never come.
class DeadlockError : public RuntimeError {
 public:
  using RuntimeError::RuntimeError;
};

// A configuration value is not acceptable; the text names key, value, source and allowed range.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A barrier was aborted, or was reset while the task waited there.
class BrokenBarrierError : public RuntimeError {
 public:
  using RuntimeError::RuntimeError;
};

// get_nowait on a queue that has no item.
class QueueEmpty : public std::runtime_error {
 public:
  QueueEmpty() : std::runtime_error("the queue is empty") {}
};

// put_nowait on a queue that has no room.
class QueueFull : public std::runtime_error {
 public:
  QueueFull() : std::runtime_error("the queue is full") {}
};

// The queue was shut down: it takes nothing any more, or has nothing left to give.
class QueueShutDown : public std::runtime_error {
 public:
  QueueShutDown() : std::runtime_error("the queue was shut down") {}
};

// SIGINT ended the main task. Not a std::exception, for the reason CancelledError is none. One that leaves a
// task or a callback ends the run of its loop, which throws it; the loop can be run again. asyncio: the same.
class KeyboardInterrupt {
 public:
  [[nodiscard]] const char* what() const noexcept { return "interrupted by SIGINT"; }
};

}  // namespace fibrio
