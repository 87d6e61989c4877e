// What: counts the handlers of a server that run. Server::wait_closed is over when the last connection is closed, and
//   a handler may outlive its connection: one that was reset by another task, say.
// Threads: tasks of one loop.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "fibrio/fibrio.hpp"

namespace fibrio::chaos {

class Handlers {
  struct State {
    std::atomic<std::size_t> count{0};
    Event has_ended;
  };

 public:
  // As long as it lives, one more runs.
  class Running {
   public:
    explicit Running(std::shared_ptr<State> state) : state_(std::move(state)) { state_->count += 1; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
      state_->count -= 1;
      state_->has_ended.set();
    }

   private:
    std::shared_ptr<State> state_;  // whoever waits may be gone first
  };
  [[nodiscard]] Running begin() const { return Running(state_); }
  // Once no more begin.
  void wait_until_none() const {
    for (;;) {
      state_->has_ended.clear();
      if (state_->count == 0) return;
      state_->has_ended.wait();
    }
  }

 private:
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace fibrio::chaos
