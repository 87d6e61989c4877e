// The engine's half that searches and schedules.
#include "support/model/engine.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>

#include <unistd.h>

#include "support/model/engine_parts.hpp"
#include "support/model/model.hpp"

namespace fibrio::model::detail {
namespace {

[[nodiscard]] std::uint64_t mix(std::uint64_t x) noexcept {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
static_assert(kDigits.size() == kMaxPicks);

}  // namespace

// ---- The search ----

Engine& Engine::running() {
  if (running_ == nullptr) {
    std::fputs("model: an object of the model was used outside of explore()\n", stderr);
    std::abort();
  }
  return *running_;
}

Engine::Engine(const Options& options, std::string options_text, const Body& body)
    : options_(options), options_text_(std::move(options_text)), body_(body) {
  locations_.reserve(kMaxLocations);  // they never move
  for (Thread& thread : threads_) thread.engine = this;
}

Engine::~Engine() = default;

bool Engine::run_once() {
  location_count_ = 0;
  all_stores_ = 0;
  steps_ = 0;
  thread_count_ = 0;
  running_children_ = 0;
  preemptions_left_ = random_ ? -1 : options_.preemption_bound;
  stale_left_ = options_.stale_bound;
  spurious_left_ = options_.spurious_bound;
  timeouts_left_ = options_.timeout_bound;
  depth_ = 0;

  current_ = thread_count_++;
  prepare_thread(0, "body");
  threads_[0].clock = Times{};
  threads_[0].clock[0] = 1;
  threads_[0].causes = Times{};
  running_ = this;
  Coroutine::switch_between(root_, *threads_[0].coroutine);
  running_ = nullptr;
  all_steps_ += steps_;
  return failure_ == Failure::kNone;
}

bool Engine::next_choices() {
  while (!choices_.empty() && choices_.back().picked + 1 >= choices_.back().alternatives) choices_.pop_back();
  if (choices_.empty()) return false;
  ++choices_.back().picked;
  return true;
}

void Engine::use_choices(const std::string& picks) {
  random_ = false;
  choices_.clear();
  for (const char digit : picks) {
    choices_.push_back({0, static_cast<std::uint8_t>(std::min(kDigits.find(digit), kDigits.size()))});
  }
}

void Engine::use_seed(std::uint64_t seed) {
  random_ = true;
  choices_.clear();
  random_state_ = mix(seed);
  // Between a switch at every second operation and long stretches: different bugs like different rates.
  preempt_shift_ = 1 + static_cast<unsigned>(random() % 4);
}

std::string Engine::choices() const {
  std::string picks;
  for (std::size_t i = 0; i < depth_; ++i) picks += kDigits[choices_[i].picked];
  picks.erase(picks.find_last_not_of('0') + 1);
  return options_text_ + picks;
}

std::uint64_t Engine::random() noexcept { return random_state_ = mix(random_state_); }

unsigned Engine::draw(unsigned alternatives, Pick kind) noexcept {
  const std::uint64_t bits = random() >> 8;
  const auto any_of = [bits](unsigned n) { return static_cast<unsigned>((bits >> 8) % n); };
  switch (kind) {
    case Pick::kPreempt:
      return (bits & ((1U << preempt_shift_) - 1)) != 0 ? 0 : 1 + any_of(alternatives - 1);
    case Pick::kValue:
      return (bits & 1) != 0 ? 0 : any_of(alternatives);
    case Pick::kThread:
    case Pick::kUser:
      return any_of(alternatives);
  }
  return 0;
}

// Every decision of an execution comes from here.
unsigned Engine::pick(unsigned alternatives, Pick kind) {
  if (depth_ < choices_.size()) {
    const Choice choice = choices_[depth_++];
    if ((choice.alternatives != 0 && choice.alternatives != alternatives) || choice.picked >= alternatives) {
      fail(Failure::kNondeterministic, "the choices do not fit: the body depends on something besides them");
    }
    return choice.picked;
  }
  const unsigned picked = random_ ? draw(alternatives, kind) : 0;
  choices_.push_back({static_cast<std::uint8_t>(alternatives), static_cast<std::uint8_t>(picked)});
  ++depth_;
  return picked;
}

unsigned Engine::choose(unsigned alternatives) {
  if (alternatives == 0 || alternatives > kMaxPicks) fail(Failure::kMisuse, "choose() takes 1 to 36");
  return alternatives == 1 ? 0 : pick(alternatives, Pick::kUser);
}

void Engine::fail(Failure failure, std::string message) {
  failure_ = failure;
  message_ = std::move(message);
  // Nobody comes back to this stack.
  Coroutine::switch_between(*current().coroutine, root_);
  std::abort();
}

// ---- Threads ----

void Engine::prepare_thread(unsigned index, const char* name) {
  Thread& thread = threads_[index];
  thread.state = State::kRunnable;
  thread.fresh = true;
  thread.deviated = false;
  thread.own_stores = 0;
  thread.seen_stores = all_stores_;
  thread.name = name;
  if (!thread.coroutine) thread.coroutine = std::make_unique<Coroutine>(&Engine::enter_thread, &thread);
}

// A coroutine serves one execution after another.
void Engine::enter_thread(void* argument) {
  auto& thread = *static_cast<Thread*>(argument);
  for (;;) thread.engine->run_thread(thread);
}

void Engine::run_thread(Thread& thread) {
  const bool is_body = &thread == threads_.data();
  try {
    if (is_body) {
      Execution execution;
      body_(execution);
    } else {
      thread.function();
    }
  } catch (const std::exception& error) {
    fail(Failure::kException, describe_thread(current_) + " threw: " + error.what());
  } catch (...) {
    fail(Failure::kException, describe_thread(current_) + " threw something that is no std::exception");
  }
  thread.state = State::kFinished;
  if (is_body) {
    if (running_children_ != 0) fail(Failure::kMisuse, "the body returned without execution.join()");
    Coroutine::switch_between(*thread.coroutine, root_);
  } else {
    --running_children_;
    run_another();
  }
}

void Engine::start_thread(std::function<void()> function, const char* name) {
  if (thread_count_ == kMaxThreads) fail(Failure::kMisuse, "more than 7 threads");
  const unsigned index = thread_count_++;
  prepare_thread(index, name);
  Thread& thread = threads_[index];
  thread.clock = current().clock;
  thread.causes = current().causes;
  thread.clock[static_cast<int>(index)] = 1;
  thread.function = std::move(function);
  ++running_children_;
  // The new one may come before whatever the starter does next, also if that is its first operation.
  current().fresh = false;
  end_operation();
}

void Engine::join_threads() {
  if (current_ != 0) fail(Failure::kMisuse, "join() is for the body");
  if (running_children_ != 0) {
    current().state = State::kJoining;
    run_another();
    current().state = State::kRunnable;
  }
  for (unsigned i = 1; i < thread_count_; ++i) current().clock = later(current().clock, threads_[i].clock);
  // Here and not in the threads: what a closure owns is destroyed after all have used it.
  for (unsigned i = 1; i < thread_count_; ++i) threads_[i].function = nullptr;
}

bool Engine::can_run(const Thread& thread) const noexcept {
  switch (thread.state) {
    case State::kRunnable:
      return true;
    case State::kPaused:
      return thread.deviated || all_stores_ - thread.own_stores != thread.seen_stores;
    case State::kWaiting:
      return locations_[thread.waits_for].tokens != 0 || (thread.timed && timeouts_left_ != 0);
    case State::kJoining:
      return running_children_ == 0;
    case State::kFinished:
      return false;
  }
  return false;
}

// Before every operation that others can see: shall another thread come first?
void Engine::schedule_point() {
  if (++steps_ > options_.max_steps) {
    fail(Failure::kLivelock,
         "more than " + std::to_string(options_.max_steps) +
             " operations: a loop that waits without spin_pause() or model::yield(), or no progress");
  }
  if (std::exchange(current().fresh, false)) return;
  if (running_children_ == 0 || preemptions_left_ == 0) return;
  std::array<unsigned, kMaxThreads> candidates;
  unsigned count = 0;
  candidates[count++] = current_;
  for (unsigned i = 0; i < thread_count_; ++i) {
    if (i != current_ && can_run(threads_[i])) candidates[count++] = i;
  }
  if (count == 1) return;
  const unsigned picked = pick(count, Pick::kPreempt);
  if (picked == 0) return;
  if (preemptions_left_ > 0) --preemptions_left_;
  switch_to(candidates[picked]);
}

// The current thread stops of its own will; returns when it is its turn again.
void Engine::run_another() {
  std::array<unsigned, kMaxThreads> candidates;
  unsigned count = 0;
  for (unsigned i = 0; i < thread_count_; ++i) {
    if (can_run(threads_[i])) candidates[count++] = i;
  }
  if (count == 0) fail_stuck();
  // The thread itself is among them if a timeout is its way on, or if it spins and has not seen all yet.
  switch_to(candidates[count == 1 ? 0 : pick(count, Pick::kThread)]);
}

void Engine::switch_to(unsigned index) {
  if (index == current_) return;
  Coroutine& from = *current().coroutine;
  current_ = index;
  Coroutine::switch_between(from, *current().coroutine);
}

void Engine::pause(Where where) {
  if (tracing_) trace_.push_back(describe_thread(current_) + "  spins  (" + to_text(where) + ")");
  if (++steps_ > options_.max_steps) fail(Failure::kLivelock, "more than max_steps operations");
  Thread& self = current();
  self.state = State::kPaused;
  run_another();
  self.state = State::kRunnable;
  self.fresh = true;
  self.deviated = false;
  self.seen_stores = all_stores_ - self.own_stores;
}

void Engine::fail_stuck() {
  std::string text = "nobody can go on:";
  bool spinning = false;
  for (unsigned i = 0; i < thread_count_; ++i) {
    const Thread& thread = threads_[i];
    if (thread.state == State::kPaused) {
      spinning = true;
      text += " " + describe_thread(i) + " spins;";
    } else if (thread.state == State::kWaiting) {
      text += " " + describe_thread(i) + " waits for " + describe(locations_[thread.waits_for]) + ";";
    }
  }
  text.pop_back();
  fail(spinning ? Failure::kLivelock : Failure::kDeadlock, std::move(text));
}

// ---- Reports ----

std::string Engine::describe(const Location& location) const {
  static constexpr std::array<const char*, 4> kKinds{"Atomic", "Var", "Event", "Semaphore"};
  if (location.name != nullptr) return location.name;
  return std::string(kKinds[static_cast<std::size_t>(location.kind)]) + "#" +
         std::to_string(&location - locations_.data());
}

std::string Engine::describe_thread(unsigned index) const {
  const char* const name = threads_[index].name;
  return "T" + std::to_string(index) + (name != nullptr ? std::string("(") + name + ")" : std::string());
}

void Engine::write_trace(const Location& location, Where where, const std::string& text) {
  trace_.push_back(describe_thread(current_) + "  " + describe(location) + "  " + text + "  (" +
                   to_text(where) + ")");
}

std::string Engine::trace() const {
  constexpr std::size_t kLines = 200;  // a livelock's end says all
  std::string text;
  const std::size_t first = trace_.size() > kLines ? trace_.size() - kLines : 0;
  if (first != 0) text += "  ... " + std::to_string(first) + " operations before\n";
  for (std::size_t i = first; i < trace_.size(); ++i) text += "  " + trace_[i] + "\n";
  return text;
}

// For a signal handler: code under test that aborts (a failed FIBRIO_CHECK) takes the checker with it.
void Engine::write_choices_to_stderr() noexcept {
  if (running_ == nullptr) return;
  const auto put = [](const char* text, std::size_t size) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, size);
  };
  constexpr std::string_view kBefore = "\nmodel: the program dies in T";
  constexpr std::string_view kBetween = "; for model::replay: ";
  put(kBefore.data(), kBefore.size());
  put(&kDigits[running_->current_], 1);
  put(kBetween.data(), kBetween.size());
  put(running_->options_text_.data(), running_->options_text_.size());
  for (std::size_t i = 0; i < running_->depth_; ++i) put(&kDigits[running_->choices_[i].picked], 1);
  put("\n", 1);
}

}  // namespace fibrio::model::detail
