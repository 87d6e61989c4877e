// What all queues have in common, whatever they hold: who waits, how many items there are, what is
// unfinished.
#pragma once

#include <cstddef>

#include "fibrio/detail/opaque.hpp"

namespace fibrio::detail {

class QueueState;

// The template holds the items, and touches them only between a begin and its end or abandon: there the
// queue's lock is held.
class QueueCore {
 public:
  explicit QueueCore(std::size_t maxsize);  // 0: no limit
  ~QueueCore();
  QueueCore(const QueueCore&) = delete;
  QueueCore& operator=(const QueueCore&) = delete;

  enum class [[nodiscard]] Begun{yes, no, shut_down};

  // Wait for room, or for an item. Throw CancelledError, QueueShutDown, RuntimeError; then nothing has begun.
  void begin_put();
  void begin_get();
  Begun try_begin_put() noexcept;
  Begun try_begin_get() noexcept;
  // The item is in, or out.
  void end_put() noexcept;
  void end_get() noexcept;
  // It is not: somebody else may have the room, or the item.
  void abandon_put() noexcept;
  void abandon_get() noexcept;
  void begin_shutdown() noexcept;
  void end_shutdown(bool dropped_items) noexcept;

  void task_done();
  void join();

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::size_t maxsize() const noexcept;

 private:
  [[nodiscard]] QueueState& state() noexcept;
  // What every operation touches lies in one cache line.
  alignas(64) Opaque<QueueState, 96> state_;
};

// Ends what was begun on a core: well, or, if the item could not be moved, not at all.
template <void (QueueCore::*End)() noexcept, void (QueueCore::*Abandon)() noexcept>
class QueueTurn {
 public:
  explicit QueueTurn(QueueCore& core) noexcept : core_(&core) {}
  QueueTurn(const QueueTurn&) = delete;
  QueueTurn& operator=(const QueueTurn&) = delete;
  ~QueueTurn() {
    if (core_ != nullptr) (core_->*Abandon)();
  }
  void end() noexcept {
    QueueCore* core = core_;
    core_ = nullptr;
    (core->*End)();
  }

 private:
  QueueCore* core_;
};
using PutTurn = QueueTurn<&QueueCore::end_put, &QueueCore::abandon_put>;
using GetTurn = QueueTurn<&QueueCore::end_get, &QueueCore::abandon_get>;

}  // namespace fibrio::detail
