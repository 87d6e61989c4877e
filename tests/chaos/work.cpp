#include "chaos/work.hpp"

#include <algorithm>
#include <cstring>

#include "chaos/plan.hpp"

namespace fibrio::chaos {

namespace {

constexpr std::size_t kMostBytes = 64 * 1024;
constexpr std::size_t kViolationsShown = 8;

std::size_t body_size(Random& random) {
  const std::uint64_t kind = random.below(20);
  if (kind == 0) return 0;
  if (kind == 1) return random.below(kMostBytes + 1);
  return random.any_size(4096);
}

const char* name_of(Outcome outcome) {
  constexpr std::array<const char*, kOutcomes> kNames = {
      "answered", "refused", "cut", "lost", "timed out", "truncated", "dropped by the client"};
  return kNames[static_cast<std::size_t>(outcome)];
}

}  // namespace

std::string data_of(std::uint64_t number, std::size_t bytes) {
  std::string data(bytes, '\0');
  Random random(number, 0x64617461);
  for (std::size_t i = 0; i < bytes; i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random.next();
    std::memcpy(data.data() + i, &word, std::min(sizeof word, bytes - i));
  }
  return data;
}

bool Work::may_repeat() const {
  return method != "POST" && upload != Upload::kStream && upload != Upload::kSizedStream;
}

Work work_of(std::uint64_t seed, std::uint64_t id) {
  Random random(seed, id);
  Work work;
  work.id = id;
  const std::uint64_t kind = random.below(20);
  work.method = kind < 13 ? "POST" : kind < 18 ? "GET" : "PUT";
  if (work.method != "GET") {
    constexpr std::array kUploads = {Upload::kText, Upload::kText, Upload::kText, Upload::kStream,
                                     Upload::kSizedStream};
    work.upload = kUploads[random.below(kUploads.size())];
    work.upload_bytes = body_size(random);
    work.is_answered_early = random.one_in(12);
    work.expects_continue = random.one_in(30);
  }
  constexpr std::array kAnswers = {Answer::kText,        Answer::kText,      Answer::kText,   Answer::kText,
                                   Answer::kText,        Answer::kStream,    Answer::kStream, Answer::kStream,
                                   Answer::kSizedStream, Answer::kUntilClose};
  work.answer = kAnswers[random.below(kAnswers.size())];
  work.answer_bytes = body_size(random);
  if (random.one_in(50)) work.gives_up_after_ms = static_cast<int>(random.below(10));
  work.drops_answer = random.one_in(50);
  return work;
}

void Ledger::add(std::uint64_t id, std::uint32_t what) {
  if (id >= entries_.size()) return violation("a request with the number " + std::to_string(id));
  entries_[id].fetch_add(what, std::memory_order_relaxed);
}

void Ledger::ended(std::uint64_t id, Outcome outcome) {
  add(id, outcome == Outcome::kAnswered ? kEnd + kAnsweredEnd : kEnd);
  outcomes_[static_cast<std::size_t>(outcome)].fetch_add(1, std::memory_order_relaxed);
}

void Ledger::violation(const std::string& what) {
  const std::lock_guard guard(lock_);
  ++violation_count_;
  if (violations_.size() < kViolationsShown) violations_.push_back(what);
}

void Ledger::settle(std::uint64_t seed) {
  for (std::uint64_t id = 0; id < entries_.size(); ++id) {
    const std::uint32_t entry = entries_[id].load(std::memory_order_relaxed);
    const std::uint32_t arrivals = entry & 0xffU;
    const std::uint32_t completions = (entry >> 8U) & 0xffU;
    const std::uint32_t ends = (entry >> 16U) & 0xffU;
    const bool is_answered = entry >= kAnsweredEnd;
    const std::string name = "request " + std::to_string(id);
    if (ends != 1) violation(name + " ended " + std::to_string(ends) + " times");
    if (is_answered && completions == 0) violation(name + " was answered and never came");
    const std::uint32_t most = work_of(seed, id).may_repeat() ? 2 : 1;
    if (arrivals > most) violation(name + " came " + std::to_string(arrivals) + " times");
    if (arrivals > 1) ++repeated_;
  }
}

std::uint64_t Ledger::all_ended() const {
  std::uint64_t sum = 0;
  for (const auto& count : outcomes_) sum += count.load(std::memory_order_relaxed);
  return sum;
}

std::string Ledger::violations() const {
  const std::lock_guard guard(lock_);
  if (violation_count_ == 0) return {};
  std::string text = std::to_string(violation_count_) + " violations:";
  for (const std::string& one : violations_) text += "\n  " + one;
  return text;
}

std::string Ledger::text() const {
  std::string text = std::to_string(requests()) + " requests";
  for (std::size_t i = 0; i < kOutcomes; ++i) {
    const auto outcome = static_cast<Outcome>(i);
    text += ", " + std::to_string(of(outcome)) + " " + name_of(outcome);
  }
  return text + ", " + std::to_string(repeated_) + " sent again";
}

}  // namespace fibrio::chaos
