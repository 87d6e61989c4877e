#include "fibrio/config_toml.hpp"

#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "fibrio/config.hpp"
#include "fibrio/errors.hpp"
#include "support/catch.hpp"

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using fibrio::Config;
using fibrio::ConfigError;

namespace {

// A TOML file that FIBRIO_CONFIG names, gone with the test.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) {
    std::string pattern = (fs::temp_directory_path() / "fibrio-toml-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    path_ = pattern + "/server.toml";
    std::ofstream(path_) << text;
    ::setenv("FIBRIO_CONFIG", path_.c_str(), 1);
    fibrio::use_toml_config();
  }
  ~ConfigFile() {
    fibrio::detail::set_config_file_reader(nullptr);
    ::unsetenv("FIBRIO_CONFIG");
    fs::remove_all(directory_);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string directory_;
  std::string path_;
};

// The error's text, with the file's path cut to "FILE".
std::string error_of(const std::string& text) {
  const ConfigFile file(text);
  try {
    (void)Config::load();
  } catch (const ConfigError& error) {
    std::string what = error.what();
    if (const auto at = what.find(file.path()); at != std::string::npos) {
      what.replace(at, file.path().size(), "FILE");
    }
    return what;
  }
  return "no ConfigError";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("TOML configuration sets every field", "[config_toml]") {
  const ConfigFile file(R"(# a comment
workers = 4
stack_size = "512K"
max_blocking_threads = 9
blocking_keep_alive = 2.5
pin_workers = true
debug = false
slow_callback_duration = "50ms"
virtual_time = true
seed = 42
)");
  const Config config = Config::load();
  CHECK(config.workers == 4);
  CHECK(config.stack_size == 512 * 1024);
  CHECK(config.max_blocking_threads == 9);
  CHECK(config.blocking_keep_alive == 2500ms);
  CHECK(config.pin_workers);
  CHECK_FALSE(config.debug);
  CHECK(config.slow_callback_duration == 50ms);
  CHECK(config.virtual_time);
  CHECK(config.seed == 42);
}

TEST_CASE("TOML configuration takes bytes as integers and durations as whole seconds", "[config_toml]") {
  const ConfigFile file("stack_size = 65_536\nblocking_keep_alive = 3\nslow_callback_duration = 1e-3\n");
  const Config config = Config::load();
  CHECK(config.stack_size == 65536);
  CHECK(config.blocking_keep_alive == 3s);
  CHECK(config.slow_callback_duration == 1ms);
}

TEST_CASE("TOML configuration of an empty file is the defaults", "[config_toml]") {
  const ConfigFile file("");
  CHECK(Config::load().workers == 0);
}

TEST_CASE("TOML configuration gives way to the environment", "[config_toml]") {
  const ConfigFile file("workers = 4\nseed = 1\n");
  ::setenv("FIBRIO_WORKERS", "2", 1);
  const Config config = Config::load();
  ::unsetenv("FIBRIO_WORKERS");
  CHECK(config.workers == 2);
  CHECK(config.seed == 1);
}

TEST_CASE("TOML configuration reads only the table fibrio if there is one", "[config_toml]") {
  const ConfigFile file("title = \"mine\"\n[fibrio]\nworkers = 3\n[server]\nport = 80\n");
  CHECK(Config::load().workers == 3);
}

TEST_CASE("TOML configuration refuses unknown keys with file and line", "[config_toml]") {
  CHECK(contains(error_of("workers = 4\nwrokers = 3\n"),
                 "wrokers = \"3\" (FILE:2) is no setting of fibrio; allowed: workers, "));
  CHECK(contains(error_of("[fibrio]\nworkers = 4\n\nport = 3\n"),
                 "port = \"3\" (FILE:4) is no setting of fibrio"));
}

TEST_CASE("TOML configuration refuses bad values with file and line", "[config_toml]") {
  CHECK(contains(error_of("\nworkers = 5000\n"),
                 "workers = \"5000\" (FILE:2) is out of range; allowed: 1 to 1024"));
  CHECK(contains(error_of("workers = -1\n"), "workers = \"-1\" (FILE:1) cannot be read"));
  CHECK(contains(error_of("workers = 4.0\n"), "workers = \"4.0\" (FILE:1) cannot be read"));
  CHECK(contains(error_of("workers = true\n"), "workers = \"true\" (FILE:1) cannot be read"));
  CHECK(contains(error_of("debug = \"yes\"\n"), "debug = \"yes\" (FILE:1) cannot be read"));
  CHECK(contains(error_of("blocking_keep_alive = inf\n"), "(FILE:1) cannot be read"));
  CHECK(contains(error_of("blocking_keep_alive = -0.5\n"), "(FILE:1) is out of range"));
  CHECK(contains(error_of("workers = [1, 2]\n"), "workers (FILE:1) is a table, an array or a date"));
  CHECK(contains(error_of("debug = 1979-05-27\n"), "debug (FILE:1) is a table, an array or a date"));
  CHECK(contains(error_of("[server]\nport = 1\n"), "server (FILE:1) is a table"));
}

TEST_CASE("TOML configuration reports parse errors with file and line", "[config_toml]") {
  const std::string error = error_of("workers = 4\n\nstack_size = = 3\n");
  INFO(error);
  CHECK(contains(error, "FILE:3: "));
  CHECK(contains(error, "FIBRIO_CONFIG"));
  CHECK(contains(error_of("workers = 4\nworkers = 5\n"), "FILE:2: "));
}

TEST_CASE("TOML configuration reports a directory", "[config_toml]") {
  const std::string path = std::filesystem::temp_directory_path();
  ::setenv("FIBRIO_CONFIG", path.c_str(), 1);
  fibrio::use_toml_config();
  CHECK_THROWS_WITH(fibrio::Config::load(),
                    path + ": a directory, not a file (the file that FIBRIO_CONFIG names)");
  ::unsetenv("FIBRIO_CONFIG");
}

TEST_CASE("TOML configuration reports a file that is not there", "[config_toml]") {
  const ConfigFile file("");
  ::setenv("FIBRIO_CONFIG", "/nonexistent/fibrio.toml", 1);
  try {
    (void)Config::load();
    FAIL("no ConfigError");
  } catch (const ConfigError& error) {
    INFO(error.what());
    CHECK(std::string(error.what()).find("/nonexistent/fibrio.toml: ") == 0);
  }
}
