#include "fibrio/config.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "fibrio/errors.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using fibrio::Config;
using fibrio::ConfigError;
using fibrio::detail::apply_setting;

namespace {

// Takes every FIBRIO_ variable away for a test, and puts them back.
class CleanEnvironment {
 public:
  CleanEnvironment() { saved_ = take_all(); }
  ~CleanEnvironment() {
    take_all();
    for (const auto& [name, value] : saved_) ::setenv(name.c_str(), value.c_str(), 1);
    fibrio::detail::set_config_file_reader(nullptr);
  }
  void set(const char* name, const char* value) { ::setenv(name, value, 1); }

 private:
  static std::vector<std::pair<std::string, std::string>> take_all() {
    std::vector<std::pair<std::string, std::string>> found;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string text(*entry);
      if (text.starts_with("FIBRIO_")) {
        found.emplace_back(text.substr(0, text.find('=')), text.substr(text.find('=') + 1));
      }
    }
    for (const auto& [name, value] : found) ::unsetenv(name.c_str());
    return found;
  }
  std::vector<std::pair<std::string, std::string>> saved_;
};

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no ConfigError";
}

Config with(const std::string& key, const std::string& value) {
  Config config;
  apply_setting(config, key, value, "test");
  return config;
}

std::string refusal(const std::string& key, const std::string& value) {
  return error_of([&] { with(key, value); });
}

}  // namespace

TEST_CASE("Config load gives the defaults in a clean environment", "[config]") {
  CleanEnvironment environment;
  const Config config = Config::load();
  CHECK(config.workers == 0);
  CHECK(config.stack_size == 256 * 1024);
  CHECK(config.max_blocking_threads == 0);
  CHECK(config.blocking_keep_alive == 10s);
  CHECK_FALSE(config.pin_workers);
  CHECK_FALSE(config.debug);
  CHECK(config.slow_callback_duration == 100ms);
  CHECK_FALSE(config.virtual_time);
  CHECK(config.seed == 0);
}

// asyncio: test_tasks GatherTestsBase.test_env_var_debug
// asyncio: test_base_events BaseEventLoopTests.test_env_var_debug
TEST_CASE("Config load applies every environment variable", "[config]") {
  CleanEnvironment environment;
  environment.set("FIBRIO_WORKERS", "7");
  environment.set("FIBRIO_STACK_SIZE", "1M");
  environment.set("FIBRIO_MAX_BLOCKING_THREADS", "12");
  environment.set("FIBRIO_BLOCKING_KEEP_ALIVE", "2.5");
  environment.set("FIBRIO_PIN_WORKERS", "1");
  environment.set("FIBRIO_DEBUG", "true");
  environment.set("FIBRIO_SLOW_CALLBACK_DURATION", "0.25");
  environment.set("FIBRIO_VIRTUAL_TIME", "1");
  environment.set("FIBRIO_SEED", "18446744073709551615");
  const Config config = Config::load();
  CHECK(config.workers == 7);
  CHECK(config.stack_size == 1024 * 1024);
  CHECK(config.max_blocking_threads == 12);
  CHECK(config.blocking_keep_alive == 2500ms);
  CHECK(config.pin_workers);
  CHECK(config.debug);
  CHECK(config.slow_callback_duration == 250ms);
  CHECK(config.virtual_time);
  CHECK(config.seed == std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("Config load takes an empty variable for an unset one", "[config]") {
  CleanEnvironment environment;
  environment.set("FIBRIO_WORKERS", "");
  environment.set("FIBRIO_CONFIG", "");
  CHECK(Config::load().workers == 0);
}

TEST_CASE("Config load names key, value, variable and range of a bad variable", "[config]") {
  CleanEnvironment environment;
  environment.set("FIBRIO_WORKERS", "many");
  CHECK(error_of([] { (void)Config::load(); }) ==
        "workers = \"many\" (environment variable FIBRIO_WORKERS) cannot be read; allowed: 1 to 1024, or 0 "
        "for the "
        "CPUs this process may use");
  environment.set("FIBRIO_WORKERS", "1025");
  CHECK(error_of([] { (void)Config::load(); }) ==
        "workers = \"1025\" (environment variable FIBRIO_WORKERS) is out of range; allowed: 1 to 1024, or 0 "
        "for the "
        "CPUs this process may use");
}

TEST_CASE("Config load ignores variables that are none of its business", "[config]") {
  CleanEnvironment environment;
  environment.set("FIBRIO_TEST_SEED", "x");
  environment.set("FIBRIO_", "x");
  environment.set("FIBRIO_HTTP_PORT", "80");
  environment.set("MY_FIBRIO_WORKER", "x");
  CHECK_NOTHROW(Config::load());
}

TEST_CASE("Config load refuses a variable that is one slip away from a setting", "[config]") {
  for (const char* slip : {"FIBRIO_WORKER", "FIBRIO_WORKERSS", "FIBRIO_WROKERS", "FIBRIO_WORKERZ",
                           "FIBRIOWORKERS", "FIBRIO_STACKSIZE", "FIBRIO_CONFIGS"}) {
    CleanEnvironment environment;
    environment.set(slip, "1");
    INFO(slip);
    const std::string error = error_of([] { (void)Config::load(); });
    if (std::string(slip).starts_with("FIBRIO_")) {
      CHECK(error.find("did you mean FIBRIO_") != std::string::npos);
      CHECK(error.find(slip) != std::string::npos);
    } else {
      CHECK(error == "no ConfigError");
    }
    ::unsetenv(slip);
  }
}

TEST_CASE("Config load asks for fibrio::toml when a file is named and nothing can read it", "[config]") {
  CleanEnvironment environment;
  environment.set("FIBRIO_CONFIG", "server.toml");
  const std::string error = error_of([] { (void)Config::load(); });
  CHECK(error.find("FIBRIO_CONFIG = \"server.toml\"") == 0);
  CHECK(error.find("link fibrio::toml") != std::string::npos);
}

TEST_CASE("Config load lets the environment override the file", "[config]") {
  CleanEnvironment environment;
  environment.set("FIBRIO_CONFIG", "server.toml");
  environment.set("FIBRIO_WORKERS", "3");
  fibrio::detail::set_config_file_reader([](const std::string& path, Config& config) {
    CHECK(path == "server.toml");
    config.workers = 9;
    config.seed = 5;
  });
  const Config config = Config::load();
  CHECK(config.workers == 3);
  CHECK(config.seed == 5);
}

TEST_CASE("Config load checks what a file's reader left behind", "[config]") {
  CleanEnvironment environment;
  environment.set("FIBRIO_CONFIG", "server.toml");
  fibrio::detail::set_config_file_reader([](const std::string&, Config& config) { config.workers = 5000; });
  CHECK(error_of([] { (void)Config::load(); }).find("Config::workers = \"5000\" is out of range") == 0);
}

TEST_CASE("apply_setting reads counts up to their limits", "[config]") {
  CHECK(with("workers", "0").workers == 0);
  CHECK(with("workers", "1024").workers == 1024);
  CHECK(with("max_blocking_threads", "4096").max_blocking_threads == 4096);
  for (const char* bad :
       {"", " ", "-1", "+1", "1 ", " 1", "1.0", "0x10", "1e3", "99999999999999999999", "4K"}) {
    INFO(bad);
    CHECK(refusal("workers", bad).find("cannot be read") != std::string::npos);
  }
  CHECK(refusal("max_blocking_threads", "4097").find("out of range; allowed: 1 to 4096") !=
        std::string::npos);
  CHECK(refusal("seed", "18446744073709551616").find("cannot be read") != std::string::npos);
}

TEST_CASE("apply_setting reads byte counts with suffixes", "[config]") {
  CHECK(with("stack_size", "16384").stack_size == 16384);
  CHECK(with("stack_size", "16K").stack_size == 16384);
  CHECK(with("stack_size", "64m").stack_size == 64 * 1024 * 1024);
  CHECK(refusal("stack_size", "16383").find("is out of range; allowed: 16K to 64M") != std::string::npos);
  CHECK(refusal("stack_size", "65M").find("is out of range") != std::string::npos);
  for (const char* bad : {"", "K", "1G", "1KB", "1 K", "18446744073709551615K", "-16K", "1.5M"}) {
    INFO(bad);
    CHECK(refusal("stack_size", bad).find("cannot be read") != std::string::npos);
  }
}

TEST_CASE("apply_setting reads durations with and without a unit", "[config]") {
  CHECK(with("blocking_keep_alive", "0").blocking_keep_alive == 0ns);
  CHECK(with("blocking_keep_alive", "2").blocking_keep_alive == 2s);
  CHECK(with("blocking_keep_alive", "0.1").blocking_keep_alive == 100ms);
  CHECK(with("blocking_keep_alive", "1e-3").blocking_keep_alive == 1ms);
  CHECK(with("blocking_keep_alive", "1.5s").blocking_keep_alive == 1500ms);
  CHECK(with("blocking_keep_alive", "100ms").blocking_keep_alive == 100ms);
  CHECK(with("blocking_keep_alive", "50us").blocking_keep_alive == 50us);
  CHECK(with("blocking_keep_alive", "10ns").blocking_keep_alive == 10ns);
  CHECK(with("blocking_keep_alive", "1e300").blocking_keep_alive == std::chrono::nanoseconds::max());
  CHECK(refusal("slow_callback_duration", "-1").find("is out of range") != std::string::npos);
  for (const char* bad : {"", "s", "1m", "1 s", "nan", "inf", "0x1p3", "1,5", "ms"}) {
    INFO(bad);
    CHECK(refusal("slow_callback_duration", bad).find("cannot be read") != std::string::npos);
  }
}

TEST_CASE("apply_setting reads the four spellings of a switch and no other", "[config]") {
  CHECK(with("debug", "1").debug);
  CHECK(with("debug", "true").debug);
  CHECK_FALSE(with("debug", "0").debug);
  CHECK_FALSE(with("debug", "false").debug);
  for (const char* bad : {"", "yes", "on", "2", "TRUE", "01"}) {
    INFO(bad);
    CHECK(refusal("debug", bad).find("allowed: 0, 1, true, false") != std::string::npos);
  }
}

TEST_CASE("apply_setting names the known settings when it meets an unknown one", "[config]") {
  const std::string error = refusal("wrkers", "1");
  CHECK(error.find("wrkers = \"1\" (test) is no setting of fibrio; allowed: workers, stack_size") == 0);
}

TEST_CASE("apply_setting leaves the config as it was when it throws", "[config]") {
  Config config;
  config.workers = 3;
  CHECK_THROWS_AS(apply_setting(config, "workers", "4000", "test"), ConfigError);
  CHECK(config.workers == 3);
}

TEST_CASE("Config validate names field, value and range", "[config]") {
  Config config;
  CHECK_NOTHROW(config.validate());
  config.stack_size = 1;
  CHECK(error_of([&] {
          config.validate();
        }).find("Config::stack_size = \"1\" is out of range; allowed: 16K") == 0);
  config = {};
  config.blocking_keep_alive = -1ns;
  CHECK(error_of([&] { config.validate(); }).find("Config::blocking_keep_alive = \"-1ns\" is out of range") ==
        0);
  config = {};
  config.max_blocking_threads = 4097;
  CHECK_THROWS_AS(config.validate(), ConfigError);
  config = {};
  config.slow_callback_duration = std::chrono::nanoseconds::max();
  CHECK_NOTHROW(config.validate());
}
