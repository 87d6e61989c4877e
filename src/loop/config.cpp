// What: Config: its ranges, and reading it from a file and from the environment.
// Threads: any; load() reads the environment, so no other thread may change that meanwhile (as with getenv).
// Protocol: one table has a row per field. Text, whatever it came from, goes through apply_setting and is
//   checked against the row's range there, so that the error can name its source; numbers set by a program
//   are checked by validate().
//   1. An empty environment variable is as good as none (`FIBRIO_DEBUG= ./server`).
//   2. Unknown FIBRIO_ variables are ignored, because programs, tools and newer versions use the prefix too;
//      only one that looks like a slip of the pen (one letter missing, extra, wrong or two swapped:
//      FIBRIO_WORKER) is an error: it would else be a setting that silently does nothing.
//   3. The file is applied before the environment: who starts a program has the last word.
// Rejected: clamping values into their range (a typo of 10000 workers would start 1024); warnings for unknown
//   variables (nobody reads them at start-up, and a library should not print).

#include "fibrio/config.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "fibrio/errors.hpp"

namespace fibrio {
namespace {

using std::chrono::nanoseconds;

constexpr std::size_t kMaxWorkers = 1024;          // a guess: more than machines have CPUs; more is a typo
constexpr std::size_t kMaxBlockingThreads = 4096;  // as ThreadPool
constexpr std::size_t kMinStackBytes = 16 * 1024;
constexpr std::size_t kMaxStackBytes = 64 * 1024 * 1024;
constexpr char kConfigVariable[] = "FIBRIO_CONFIG";

[[noreturn]] void fail(std::string_view key, std::string_view value, std::string_view source,
                       std::string_view problem, std::string_view allowed) {
  std::string text(key);
  text.append(" = \"").append(value).append("\"");
  if (!source.empty()) text.append(" (").append(source).append(")");
  text.append(" ").append(problem).append("; allowed: ").append(allowed);
  throw ConfigError(text);
}

// Parsers of whole texts: nothing may stand before or behind.
std::optional<std::uint64_t> parse_whole(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "262144", "256K", "1M"; the suffixes are powers of 1024.
std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  std::uint64_t unit = 1;
  if (!text.empty() && (text.back() == 'K' || text.back() == 'k')) unit = 1024;
  if (!text.empty() && (text.back() == 'M' || text.back() == 'm')) unit = 1024 * 1024;
  if (unit != 1) text.remove_suffix(1);
  const std::optional<std::uint64_t> number = parse_whole(text);
  if (!number || *number > std::numeric_limits<std::uint64_t>::max() / unit) return std::nullopt;
  return *number * unit;
}

std::optional<bool> parse_bool(std::string_view text) {
  if (text == "1" || text == "true") return true;
  if (text == "0" || text == "false") return false;
  return std::nullopt;
}

// "0.25", "2", "100ms", "50us", "10ns", "1.5s"; without a unit: seconds.
std::optional<nanoseconds> parse_duration(std::string_view text) {
  double number = 0;
  const char* const text_end = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), text_end, number);
  if (error != std::errc{} || !std::isfinite(number)) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text_end - end));
  double nanoseconds_per_unit;
  if (unit.empty() || unit == "s") {
    nanoseconds_per_unit = 1e9;
  } else if (unit == "ms") {
    nanoseconds_per_unit = 1e6;
  } else if (unit == "us") {
    nanoseconds_per_unit = 1e3;
  } else if (unit == "ns") {
    nanoseconds_per_unit = 1;
  } else {
    return std::nullopt;
  }
  return AnyDuration(std::chrono::duration<double, std::nano>(number * nanoseconds_per_unit));
}

// One field: its name (the environment's is FIBRIO_ and the name in capitals), what it may be, how text is
// stored in it, and how it is checked.
struct Setting {
  std::string_view key;
  std::string_view allowed;
  bool (*assign)(Config& config, std::string_view text);  // false: not of this type
  bool (*in_range)(const Config& config);
  std::string (*show)(const Config& config);
};

template <auto Member, auto Parse>
bool assign(Config& config, std::string_view text) {
  const auto value = Parse(text);
  if (!value) return false;
  config.*Member = *value;
  return true;
}
template <auto Member>
std::string show(const Config& config) {
  return std::to_string(config.*Member);
}
template <auto Member>
std::string show_duration(const Config& config) {
  return std::to_string((config.*Member).count()) + "ns";
}
constexpr auto kAnyValue = [](const Config&) { return true; };

constexpr std::string_view kBoolean = "0, 1, true, false";
constexpr std::string_view kDurations =
    "0 or more seconds as a decimal number, or a number with the unit s, ms, us or ns (\"100ms\")";

constexpr Setting kSettings[] = {
    {"workers", "1 to 1024, or 0 for the CPUs this process may use", assign<&Config::workers, parse_whole>,
     [](const Config& config) { return config.workers <= kMaxWorkers; }, show<&Config::workers>},
    {"stack_size", "16K to 64M bytes (suffixes K and M: powers of 1024)",
     assign<&Config::stack_size, parse_bytes>,
     [](const Config& config) {
       return config.stack_size >= kMinStackBytes && config.stack_size <= kMaxStackBytes;
     },
     show<&Config::stack_size>},
    {"max_blocking_threads", "1 to 4096, or 0 for min(32, CPUs + 4)",
     assign<&Config::max_blocking_threads, parse_whole>,
     [](const Config& config) { return config.max_blocking_threads <= kMaxBlockingThreads; },
     show<&Config::max_blocking_threads>},
    {"blocking_keep_alive", kDurations, assign<&Config::blocking_keep_alive, parse_duration>,
     [](const Config& config) { return config.blocking_keep_alive.count() >= 0; },
     show_duration<&Config::blocking_keep_alive>},
    {"pin_workers", kBoolean, assign<&Config::pin_workers, parse_bool>, kAnyValue,
     show<&Config::pin_workers>},
    {"debug", kBoolean, assign<&Config::debug, parse_bool>, kAnyValue, show<&Config::debug>},
    {"slow_callback_duration", kDurations, assign<&Config::slow_callback_duration, parse_duration>,
     [](const Config& config) { return config.slow_callback_duration.count() >= 0; },
     show_duration<&Config::slow_callback_duration>},
    {"virtual_time", kBoolean, assign<&Config::virtual_time, parse_bool>, kAnyValue,
     show<&Config::virtual_time>},
    {"seed", "1 to 18446744073709551615, or 0 for one from the system", assign<&Config::seed, parse_whole>,
     kAnyValue, show<&Config::seed>},
};

std::string variable_of(std::string_view key) {
  std::string name = "FIBRIO_";
  for (const char letter : key) name += static_cast<char>(letter == '_' ? '_' : letter - 'a' + 'A');
  return name;
}

// True if one letter missing, extra or wrong, or two neighbours swapped, tell `a` from `b`.
bool is_one_slip_away(std::string_view a, std::string_view b) {
  if (a == b) return false;
  while (!a.empty() && !b.empty() && a.front() == b.front()) a.remove_prefix(1), b.remove_prefix(1);
  while (!a.empty() && !b.empty() && a.back() == b.back()) a.remove_suffix(1), b.remove_suffix(1);
  if (std::max(a.size(), b.size()) == 1) return true;
  return a.size() == 2 && b.size() == 2 && a[0] == b[1] && a[1] == b[0];
}

// Complains about variables that look like a misspelt setting.
void reject_slips() {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!text.starts_with("FIBRIO_")) continue;
    const std::string_view name = text.substr(0, text.find('='));
    std::string meant;
    for (const Setting& setting : kSettings) {
      const std::string variable = variable_of(setting.key);
      if (name == variable || name == kConfigVariable) {
        meant.clear();
        break;
      }
      if (is_one_slip_away(name, variable)) meant = variable;
      if (is_one_slip_away(name, kConfigVariable)) meant = kConfigVariable;
    }
    if (!meant.empty()) {
      throw ConfigError("unknown environment variable " + std::string(name) + ": did you mean " + meant +
                        "? Rename or unset it");
    }
  }
}

// The variable's value; null if it is not set or empty.
const char* environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): said in the head
  return value != nullptr && *value != '\0' ? value : nullptr;
}

// The store is paired with the load in load(): the reader's own set-up is visible to who uses it.
std::atomic<detail::ConfigFileReader> config_file_reader{nullptr};

}  // namespace

void detail::set_config_file_reader(ConfigFileReader reader) noexcept {
  config_file_reader.store(reader, std::memory_order_release);
}

void detail::apply_setting(Config& config, const std::string& key, const std::string& value,
                           const std::string& source) {
  const auto* const setting = std::find_if(std::begin(kSettings), std::end(kSettings),
                                           [&](const Setting& candidate) { return candidate.key == key; });
  if (setting == std::end(kSettings)) {
    std::string known;
    for (const Setting& each : kSettings) known.append(known.empty() ? "" : ", ").append(each.key);
    fail(key, value, source, "is no setting of fibrio", known);
  }
  Config changed = config;
  if (!setting->assign(changed, value)) fail(key, value, source, "cannot be read", setting->allowed);
  if (!setting->in_range(changed)) fail(key, value, source, "is out of range", setting->allowed);
  config = changed;
}

Config Config::load() {
  Config config;
  if (const char* path = environment(kConfigVariable)) {
    const detail::ConfigFileReader reader = config_file_reader.load(std::memory_order_acquire);
    if (reader == nullptr) {
      throw ConfigError(
          std::string(kConfigVariable) + " = \"" + path +
          "\" (environment): this program cannot read configuration files; link fibrio::toml and "
          "call fibrio::use_toml_config() before the first loop, or unset the variable");
    }
    reader(path, config);
  }
  for (const Setting& setting : kSettings) {
    const std::string variable = variable_of(setting.key);
    if (const char* value = environment(variable)) {
      detail::apply_setting(config, std::string(setting.key), value, "environment variable " + variable);
    }
  }
  reject_slips();
  config.validate();  // the file's reader is not ours
  return config;
}

void Config::validate() const {
  for (const Setting& setting : kSettings) {
    if (!setting.in_range(*this)) {
      fail("Config::" + std::string(setting.key), setting.show(*this), "", "is out of range",
           setting.allowed);
    }
  }
}

}  // namespace fibrio
