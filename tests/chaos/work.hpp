// What: requests that can be checked. All of a request and of its answer follows from its number, so that both sides
//   know what must come, and a byte of another message is found.
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace fibrio::chaos {

// Bytes that belong to `number` alone.
[[nodiscard]] std::string data_of(std::uint64_t number, std::size_t bytes);

enum class Upload : std::uint8_t { kNone, kText, kStream, kSizedStream };
enum class Answer : std::uint8_t { kText, kStream, kSizedStream, kUntilClose };

struct Work {
  std::uint64_t id = 0;
  std::string method;
  Upload upload = Upload::kNone;
  std::size_t upload_bytes = 0;
  Answer answer = Answer::kText;
  std::size_t answer_bytes = 0;
  bool is_answered_early = false;  // its body is left unread
  bool expects_continue = false;
  int gives_up_after_ms = -1;  // the client's patience; negative: as long as it takes
  bool drops_answer = false;   // the client reads only some of it

  [[nodiscard]] std::string upload_data() const { return data_of(2 * id, upload_bytes); }
  [[nodiscard]] std::string answer_data() const { return data_of(2 * id + 1, answer_bytes); }
  // Whether a client may send it again by itself.
  [[nodiscard]] bool may_repeat() const;
};
[[nodiscard]] Work work_of(std::uint64_t seed, std::uint64_t id);

// How a request ended for its client. All but the last one are right.
enum class Outcome : std::uint8_t {
  kAnswered,
  kRefused,    // with a status of its own: 400, 408
  kCut,        // ClientError: an answer that ends early
  kLost,       // an error of the connection
  kTimedOut,   // TimeoutError
  kTruncated,  // a part of an answer that only the end of the connection ends, and nobody could know
  kDropped,    // the client read only some of it
};
inline constexpr std::size_t kOutcomes = static_cast<std::size_t>(Outcome::kDropped) + 1;

// What became of all requests.
class Ledger {
 public:
  explicit Ledger(std::uint64_t requests) : entries_(requests) {}

  // On the server: a request has come; all of it has come.
  void arrived(std::uint64_t id) { add(id, kArrival); }
  void completed(std::uint64_t id) { add(id, kCompletion); }
  // On the client.
  void ended(std::uint64_t id, Outcome outcome);
  // What must never happen.
  void violation(const std::string& what);

  // Once all is over: that each request has ended once, answered ones have come, and none came too often.
  void settle(std::uint64_t seed);
  [[nodiscard]] std::uint64_t of(Outcome outcome) const {
    return outcomes_[static_cast<std::size_t>(outcome)].load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t requests() const { return entries_.size(); }
  [[nodiscard]] std::uint64_t all_ended() const;
  [[nodiscard]] std::uint64_t repeated() const { return repeated_; }
  // The first few, and how many there were; empty if all is well.
  [[nodiscard]] std::string violations() const;
  [[nodiscard]] std::string text() const;

 private:
  // An entry: 8 bits each of arrivals, completions and ends; then whether it was answered.
  static constexpr std::uint32_t kArrival = 1;
  static constexpr std::uint32_t kCompletion = 1U << 8U;
  static constexpr std::uint32_t kEnd = 1U << 16U;
  static constexpr std::uint32_t kAnsweredEnd = 1U << 24U;
  void add(std::uint64_t id, std::uint32_t what);

  std::vector<std::atomic<std::uint32_t>> entries_;
  std::array<std::atomic<std::uint64_t>, kOutcomes> outcomes_ = {};
  std::uint64_t repeated_ = 0;
  mutable std::mutex lock_;
  std::vector<std::string> violations_;  // guarded by lock_
  std::uint64_t violation_count_ = 0;    // guarded by lock_
};

}  // namespace fibrio::chaos
