// The exceptions that fibrio throws, under asyncio's names.
//
// Errors of the operating system are not here: they are std::system_error, whose text names the call.
// CancelledError is deliberately not a std::exception: `catch (const std::exception&)` in the code of a
// task must not swallow a cancellation. Code that catches everything with `catch (...)` should rethrow.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fibrio/errno.hpp"  // IWYU pragma: export

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

// A context variable has no value and no default.
class LookupError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
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

// A stream ended before what was asked for had come.
class IncompleteReadError : public std::runtime_error {
 public:
  // `expected`: nothing if it is not known how much was to come.
  IncompleteReadError(std::string partial, std::optional<std::size_t> expected)
      : std::runtime_error(std::to_string(partial.size()) + " bytes read of " +
                           (expected ? std::to_string(*expected) : "an unknown number of") +
                           " expected bytes"),
        partial_(std::make_shared<const std::string>(std::move(partial))),
        expected_(expected) {}
  // What came before the end; it is no longer in the stream.
  [[nodiscard]] const std::string& partial() const noexcept { return *partial_; }
  [[nodiscard]] std::optional<std::size_t> expected() const noexcept { return expected_; }

 private:
  std::shared_ptr<const std::string> partial_;  // shared: copying an exception must not throw
  std::optional<std::size_t> expected_;
};

// More came than the reader's limit, and no separator. The data is still in the reader.
class LimitOverrunError : public std::runtime_error {
 public:
  LimitOverrunError(const std::string& message, std::size_t consumed)
      : std::runtime_error(message), consumed_(consumed) {}
  // How many bytes to read (readexactly) to get past what was searched in vain.
  [[nodiscard]] std::size_t consumed() const noexcept { return consumed_; }

 private:
  std::size_t consumed_;
};

// SIGINT ended the main task. Not a std::exception, for the reason CancelledError is none. One that leaves a
// task or a callback ends the run of its loop, which throws it; the loop can be run again. asyncio: the same.
class KeyboardInterrupt {
 public:
  [[nodiscard]] const char* what() const noexcept { return "interrupted by SIGINT"; }
};

// Several exceptions at once: what children and body of a task group failed with. A member may be a group
// itself. Copies share their members.
//   catch (const ExceptionGroup& failures) {
//     if (!failures.contains<std::system_error>()) throw;
//   }
class ExceptionGroup : public std::runtime_error {
 public:
  // Throws: std::invalid_argument if there are no exceptions, or a null one.
  ExceptionGroup(const std::string& message, std::vector<std::exception_ptr> exceptions);

  // The text without that of the members, which what() has too.
  [[nodiscard]] const std::string& message() const noexcept { return parts_->message; }
  [[nodiscard]] const std::vector<std::exception_ptr>& exceptions() const noexcept {
    return parts_->exceptions;
  }
  // True if a member is an E, or one in a group among them. A group is only looked into: that it is a
  // std::runtime_error itself does not count.
  template <class E>
  [[nodiscard]] bool contains() const {
    return contains(&is<E>);
  }
  // Returns the group of those that are an E, and the group of the others; nothing stands for an empty one.
  // Nested groups are divided too, and stay nested. asyncio: what `except*` does.
  template <class E>
  [[nodiscard]] std::pair<std::optional<ExceptionGroup>, std::optional<ExceptionGroup>> split() const {
    auto divided = split(&is<E>);
    std::pair<std::optional<ExceptionGroup>, std::optional<ExceptionGroup>> groups;
    if (!divided.first.empty()) groups.first.emplace(message(), std::move(divided.first));
    if (!divided.second.empty()) groups.second.emplace(message(), std::move(divided.second));
    return groups;
  }

 private:
  using Matches = bool (*)(const std::exception_ptr&);
  struct Parts {
    std::string message;
    std::vector<std::exception_ptr> exceptions;
  };
  template <class E>
  static bool is(const std::exception_ptr& exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const E&) {
      return true;
    } catch (...) {
      return false;
    }
  }
  [[nodiscard]] bool contains(Matches matches) const;
  [[nodiscard]] std::pair<std::vector<std::exception_ptr>, std::vector<std::exception_ptr>> split(
      Matches matches) const;

  std::shared_ptr<const Parts> parts_;  // shared: copying an exception must not throw
};

}  // namespace fibrio
