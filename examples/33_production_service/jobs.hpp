// Work that outlives its request: a bounded queue, and the tasks that take from it.
#pragma once

#include <cstdint>
#include <deque>
#include <fibrio/fibrio.hpp>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>

#include "database.hpp"

namespace service {

class Jobs {
 public:
  using Id = std::uint64_t;

  Jobs(Database& database, std::size_t capacity) : database_(database), queue_(capacity) {}

  // Nothing if the queue is full: the client learns that at once, and may come back later.
  std::optional<Id> submit(const std::string& owner, const std::string& text) {
    const std::lock_guard lock(mutex_);
    const auto place = jobs_.emplace(accepted_ + 1, Job{owner, text, "waiting", nullptr}).first;
    if (!queue_.try_put(place->first)) {
      jobs_.erase(place);
      ++refused_;
      return std::nullopt;
    }
    ++accepted_;
    return accepted_;
  }
  // Null if `user` has no such job.
  nlohmann::json describe(Id id, const std::string& user) {
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(id);
    if (found == jobs_.end() || found->second.owner != user) return nullptr;
    return {{"id", id}, {"state", found->second.state}, {"result", found->second.result}};
  }
  // A consumer: works until the queue is shut down and empty.
  void consume() {
    try {
      for (;;) {
        work_on(queue_.get());
        queue_.task_done();
      }
    } catch (const fibrio::QueueShutDown&) {
    }
  }
  // Takes no more jobs, and waits until the last one is done. Throws: TimeoutError.
  void finish(fibrio::TimePoint deadline) {
    queue_.shutdown();
    fibrio::timeout_at(deadline, [this] { queue_.join(); });
  }
  [[nodiscard]] std::uint64_t finished() {
    const std::lock_guard lock(mutex_);
    return finished_;
  }
  [[nodiscard]] std::uint64_t unfinished() {
    const std::lock_guard lock(mutex_);
    return accepted_ - finished_;
  }
  nlohmann::json stats() {
    const std::lock_guard lock(mutex_);
    return {{"accepted", accepted_},
            {"refused", refused_},
            {"waiting", queue_.qsize()},
            {"finished", finished_},
            {"failed", failed_}};
  }

 private:
  static constexpr fibrio::Duration kTimeout = std::chrono::seconds(30);
  static constexpr std::size_t kKept = 10'000;  // results; the oldest ones are forgotten
  struct Job {
    std::string owner;
    std::string text;
    const char* state;
    nlohmann::json result;
  };

  void work_on(Id id) {
    const std::string text = begin(id);
    try {
      end(id, "done", fibrio::timeout(kTimeout, [&] { return database_.count_words(text); }));
    } catch (const std::exception& error) {  // a bad job does not end its consumer
      end(id, "failed", error.what());
    }
  }
  std::string begin(Id id) {
    const std::lock_guard lock(mutex_);
    Job& job = jobs_.at(id);
    job.state = "running";
    return std::move(job.text);
  }
  void end(Id id, const char* state, nlohmann::json result) {
    const std::lock_guard lock(mutex_);
    Job& job = jobs_.at(id);
    job.state = state;
    job.result = std::move(result);
    ++finished_;
    if (job.state == std::string_view("failed")) ++failed_;
    kept_.push_back(id);
    if (kept_.size() <= kKept) return;
    jobs_.erase(kept_.front());
    kept_.pop_front();
  }

  Database& database_;
  fibrio::Queue<Id> queue_;
  std::mutex mutex_;  // of threads: never held over a wait
  std::unordered_map<Id, Job> jobs_;
  std::deque<Id> kept_;  // finished ones, the oldest first
  std::uint64_t accepted_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t finished_ = 0;  // failed ones too
  std::uint64_t failed_ = 0;
};

}  // namespace service
