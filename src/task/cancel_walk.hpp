// What: how a cancel goes through futures that stand for others (gather), and through those that these wait for,
// without recursion: as deep as the programs nest, on any stack.
// Threads: the canceller's. Invariant: a frame for each composed future whose parts are being cancelled; the parts
// are reached in the order in which a recursion would reach them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "fibrio/futures.hpp"

namespace fibrio::detail {

class CancelWalk {
 public:
  // The parts of a composed future that has begun its cancel (FutureState::begin_cancel) are to be cancelled.
  // `owner`, if valid, is the task that awaits it, and whose request it is; `epoch` as for cancel_task.
  // False: there is no memory; the caller ends the cancel of `composed`.
  [[nodiscard]] bool enter(const AnyFuture& composed, const AnyFuture& owner, std::uint32_t* epoch) noexcept {
    try {
      frames_.push_back({composed, owner, epoch});
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }
  // Cancels all that is entered, and what that leads to. True if the first one accepted it, or there is none.
  bool finish(const std::string& message) noexcept;

 private:
  struct Frame {
    AnyFuture composed;
    AnyFuture owner;
    std::uint32_t* epoch;
    std::size_t next = 0;
    bool accepted = false;
  };
  std::vector<Frame> frames_;
};

}  // namespace fibrio::detail
