// What: staggered_race.
//
// Threads: the constructor and wait_for_all: the task that races. run_one: the candidates' tasks. on_end: the
// loop.
//
// Protocol (asyncio's).
//  1. One task per candidate, and one that finds none left. Each waits until its predecessor failed or the delay
//     is over, takes the next number, starts its successor and only then calls its candidate.
//  2. Whoever returns first sets the winner under the lock and cancels all others. After that no number is
//     taken, and a successor that was just started is cancelled by who started it.
//  3. The race is over when all tasks have ended; each is counted out by a done-callback, which does not touch
//     the race after it gave back the lock.
//
// Rejected: one task that starts the candidates (each start comes a pass later than in asyncio, and two that
// end in the same pass both win). A task group (it passes only the first cancel on).
#include "fibrio/staggered.hpp"

#include <memory>
#include <mutex>
#include <string>

#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/locks.hpp"
#include "fibrio/tasks.hpp"
#include "fibrio/threads.hpp"
#include "fibrio/timeouts.hpp"

namespace fibrio::detail {
namespace {

class Race {
 public:
  Race(std::size_t count, std::optional<Duration> delay, UniqueFunction<void(std::size_t)>& attempt)
      : count_(count), delay_(delay), attempt_(attempt) {
    outcome_.exceptions.reserve(count);
    running_.reserve(count + 1);
    start_one(nullptr);
  }

  void wait_for_all() {
    std::exception_ptr cancelled;
    while (const std::optional<Future<>> all_ended = next_wait()) {
      try {
        await(*all_ended);
      } catch (const CancelledError& error) {
        cancelled = std::current_exception();
        cancel_others(AnyFuture(), error.message());
      }
    }
    if (!unhandled_.empty()) throw ExceptionGroup("staggered race failed", std::move(unhandled_));
    if (cancelled != nullptr) std::rethrow_exception(cancelled);
  }

  [[nodiscard]] RaceOutcome take_outcome() { return std::move(outcome_); }

 private:
  using Failed = std::shared_ptr<Event>;

  void start_one(Failed predecessor) {
    const AnyTask task =
        create_task([this, failed = std::move(predecessor)]() mutable { run_one(std::move(failed)); });
    bool too_late = false;
    {
      const std::lock_guard guard(lock_);
      running_.push_back(task);
      too_late = outcome_.winner.has_value();
    }
    task.add_done_callback([this](const AnyFuture& ended) { on_end(ended); });
    if (too_late) task.cancel();
  }

  void run_one(Failed predecessor) {
    if (predecessor != nullptr) {
      try {
        if (delay_) {
          wait_for([&] { predecessor->wait(); }, *delay_);
        } else {
          predecessor->wait();
        }
      } catch (const TimeoutError&) {
      }
    }
    std::size_t index = 0;
    {
      const std::lock_guard guard(lock_);
      index = outcome_.exceptions.size();
      if (outcome_.winner || index == count_) return;
      outcome_.exceptions.emplace_back();  // its room was reserved
    }
    const auto failed = std::make_shared<Event>();
    start_one(failed);
    std::exception_ptr exception;
    try {
      attempt_(index);
    } catch (const KeyboardInterrupt&) {
      throw;
    } catch (...) {
      exception = std::current_exception();
    }
    bool won = false;
    {
      const std::lock_guard guard(lock_);
      won = exception == nullptr && !outcome_.winner;
      if (won) outcome_.winner = index;
      outcome_.exceptions[index] = exception;
    }
    if (exception != nullptr) failed->set();
    if (won) cancel_others(current_task(), std::string());
  }

  void cancel_others(const AnyFuture& self, const std::string& message) {
    std::vector<AnyTask> others;
    {
      const std::lock_guard guard(lock_);
      others = running_;
    }
    for (const AnyTask& task : others) {
      if (task != self) task.cancel(message);
    }
  }

  // What to wait for; nothing if no task is left.
  [[nodiscard]] std::optional<Future<>> next_wait() {
    Future<> wait = get_running_loop().create_future();
    const std::lock_guard guard(lock_);
    if (running_.empty()) return std::nullopt;
    all_ended_ = wait;
    return wait;
  }

  void on_end(const AnyFuture& ended) {
    const std::exception_ptr exception = ended.cancelled() ? nullptr : ended.exception();
    Future<> all_ended;
    {
      const std::lock_guard guard(lock_);
      std::erase(running_, ended);
      if (exception != nullptr) unhandled_.push_back(exception);
      if (running_.empty()) all_ended = std::move(all_ended_);
    }
    if (all_ended.valid()) static_cast<void>(all_ended.try_set_result());
  }

  const std::size_t count_;
  const std::optional<Duration> delay_;
  UniqueFunction<void(std::size_t)>& attempt_;
  std::mutex lock_;  // guards what follows
  RaceOutcome outcome_;
  std::vector<AnyTask> running_;
  std::vector<std::exception_ptr> unhandled_;
  Future<> all_ended_;
};

}  // namespace

RaceOutcome run_staggered_race(std::size_t count, std::optional<Duration> delay,
                               UniqueFunction<void(std::size_t)> attempt) {
  require_running_task("staggered_race");
  Race race(count, delay, attempt);
  race.wait_for_all();
  return race.take_outcome();
}

}  // namespace fibrio::detail
