#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <utility>
#include <vector>

#include <signal.h>

#include "support/model/engine.hpp"
#include "support/model/model.hpp"

namespace fibrio::model {
namespace {

using detail::Engine;

// Replay strings: "p2.s2.w1.t1.l0.m10000:0102". A random search has no preemption bound, "p-1".
[[nodiscard]] std::string bounds_text(const Options& options) {
  const int preemptions = options.random_schedules != 0 ? -1 : options.preemption_bound;
  return "p" + std::to_string(preemptions) + ".s" + std::to_string(options.stale_bound) + ".w" +
         std::to_string(options.spurious_bound) + ".t" + std::to_string(options.timeout_bound) + ".l" +
         (options.report_load_buffering ? "1" : "0") + ".m" + std::to_string(options.max_steps) + ":";
}

[[nodiscard]] bool parse_bounds(const std::string& text, Options& options) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&](char letter, auto& value) {
    if (at == end || *at != letter) return false;
    const auto [after, error] = std::from_chars(at + 1, end, value);
    at = after == end ? end : after + 1;
    return error == std::errc{};
  };
  int load_buffering = 0;
  const bool fits = number('p', options.preemption_bound) && number('s', options.stale_bound) &&
                    number('w', options.spurious_bound) && number('t', options.timeout_bound) &&
                    number('l', load_buffering) && number('m', options.max_steps);
  options.report_load_buffering = load_buffering != 0;
  return fits;
}

// While it lives, a crash of the code under test prints what replays it, and then goes its old way.
class CrashReport {
 public:
  CrashReport() {
    struct sigaction action = {};
    action.sa_handler = &CrashReport::on_signal;
    action.sa_flags = SA_ONSTACK;
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &old_[i]);
  }
  ~CrashReport() { restore(); }
  CrashReport(const CrashReport&) = delete;
  CrashReport& operator=(const CrashReport&) = delete;

 private:
  static void on_signal(int signal) {
    Engine::write_choices_to_stderr();
    restore();
    ::raise(signal);  // delivered to the old handler once this one has returned
  }
  static void restore() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &old_[i], nullptr);
  }

  static constexpr std::array<int, 2> kSignals{SIGABRT, SIGSEGV};
  static inline std::array<struct sigaction, kSignals.size()> old_;
};

// Stacks and closures of a failed execution may refer to each other and to anything; and their destructors
// were written for data that is not broken.
void keep_for_ever(std::unique_ptr<Engine> engine) {
  static auto* const kept = new std::vector<std::unique_ptr<Engine>>;
  kept->push_back(std::move(engine));
}

void describe_failure(Result& result, std::unique_ptr<Engine> engine) {
  result.failure = engine->failure();
  result.message = engine->message();
  result.choices = engine->choices();
  result.trace = engine->trace();
  keep_for_ever(std::move(engine));
}

void add_trace(Result& result, const Body& body) {
  if (result.failure == Failure::kNondeterministic) return;
  Result again = replay(result.choices, body);
  if (again.failure != result.failure) {
    result.message += " (a second run with the same choices went another way: the body is not deterministic)";
  }
  result.trace = std::move(again.trace);
}

}  // namespace

Result explore(const Options& options, const Body& body) {
  if (Engine::is_running()) {
    Engine::running().fail(Failure::kMisuse, "explore() inside of explore()");
  }
  Options effective = options;
  effective.max_steps = std::min(options.max_steps, detail::kMaxStepsLimit);
  Result result;
  {
    const CrashReport crash_report;
    auto engine = std::make_unique<Engine>(effective, bounds_text(effective), body);
    const bool random = options.random_schedules != 0;
    const std::uint64_t limit = random ? options.random_schedules : options.max_schedules;
    bool passed = true;
    while (passed && !result.exhausted && result.schedules < limit) {
      const std::uint64_t seed = options.seed + result.schedules;
      if (random) engine->use_seed(seed);
      passed = engine->run_once();
      ++result.schedules;
      if (!passed) result.seed = random ? seed : 0;
      if (passed && !random) result.exhausted = !engine->next_choices();
    }
    result.steps = engine->steps();
    if (!passed) describe_failure(result, std::move(engine));
  }
  if (!result) add_trace(result, body);
  return result;
}

Result replay(const std::string& choices, const Body& body) {
  Result result;
  Options options;
  const std::size_t colon = choices.find(':');
  if (colon == std::string::npos || !parse_bounds(choices.substr(0, colon), options)) {
    result.failure = Failure::kMisuse;
    result.message = "not a replay string: " + choices;
    return result;
  }
  const CrashReport crash_report;
  auto engine = std::make_unique<Engine>(options, choices.substr(0, colon + 1), body);
  engine->use_choices(choices.substr(colon + 1));
  engine->keep_trace();
  const bool passed = engine->run_once();
  result.schedules = 1;
  result.steps = engine->steps();
  result.choices = choices;
  result.trace = engine->trace();
  if (!passed) describe_failure(result, std::move(engine));
  return result;
}

void Execution::thread(std::function<void()> function, const char* name) {
  Engine::running().start_thread(std::move(function), name);
}

void Execution::join() { Engine::running().join_threads(); }

void check(bool condition, std::string_view message, Where where) {
  Engine& engine = Engine::running();
  if (condition) return;
  const std::string_view path = where.file_name();
  engine.fail(Failure::kCheck, std::string(message) + " (" + std::string(path.substr(path.rfind('/') + 1)) +
                                   ":" + std::to_string(where.line()) + ", in T" +
                                   std::to_string(engine.current_thread()) + ")");
}

unsigned choose(unsigned alternatives) { return Engine::running().choose(alternatives); }

void yield(Where where) { Engine::running().pause(where); }

unsigned thread_index() { return Engine::running().current_thread(); }

const char* to_string(Failure failure) noexcept {
  switch (failure) {
    case Failure::kNone:
      return "no failure";
    case Failure::kCheck:
      return "check failed";
    case Failure::kDeadlock:
      return "deadlock";
    case Failure::kLivelock:
      return "livelock";
    case Failure::kDataRace:
      return "data race";
    case Failure::kLoadBuffering:
      return "load buffering";
    case Failure::kDeadObject:
      return "use of a dead object";
    case Failure::kException:
      return "exception";
    case Failure::kMisuse:
      return "misuse";
    case Failure::kNondeterministic:
      return "not deterministic";
  }
  return "?";
}

std::ostream& operator<<(std::ostream& out, const Result& result) {
  out << to_string(result.failure);
  if (!result) out << ": " << result.message;
  out << "\n  after " << result.schedules << " executions, " << result.steps << " operations"
      << (result.exhausted ? ", all within the bounds" : "");
  if (!result) {
    out << "\n  model::replay(\"" << result.choices << "\", body)";
    if (result.seed != 0) out << " or model::random_search(1, " << result.seed << ")";
    out << "\n" << result.trace;
  }
  return out;
}

}  // namespace fibrio::model
