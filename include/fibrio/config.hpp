// How a loop is set up. Read once, when the EventLoop is constructed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "fibrio/clock.hpp"

namespace fibrio {

struct Config {
  // Event loops (threads), 1 to 1024; 0 = as many as the CPUs this process may use: its affinity mask and its
  // cgroup's cpu quota. One worker keeps asyncio's order of everything and starts no thread.
  std::size_t workers = 0;
  // Usable bytes per fiber, rounded up to a size class; 16 KiB to 64 MiB.
  std::size_t stack_size = 256 * 1024;
  // Threads of the default executor at most, up to 4096; 0 = min(32, CPUs + 4) as in asyncio.
  std::size_t max_blocking_threads = 0;
  // How long an idle thread of the default executor stays; not negative.
  AnyDuration blocking_keep_alive = std::chrono::seconds(10);
  // Binds worker i to the i-th CPU of the affinity mask (worker 0, the caller's thread, for the time of a
  // run).
  bool pin_workers = false;
  // asyncio's debug mode: slow steps of tasks and slow callbacks are reported to the exception handler; tasks,
  // futures and callbacks remember where they were made, for reports and dumps, and tasks since when they
  // wait; a cancel that finds tasks that await each other reports that. Costs about 2 µs for each thing made,
  // and 0.1 µs for each step. EventLoop::set_debug changes it.
  bool debug = false;
  // What debug mode calls slow, of a callback or of a step of a task, by the loop's clock; not negative.
  AnyDuration slow_callback_duration = std::chrono::milliseconds(100);
  // A deterministic clock that starts at zero and jumps to the next deadline when nothing is ready; passes
  // are exact: a snapshot of what is ready, then the timers that are due. With several workers it jumps when
  // all of them are idle. It stands still while a call that was offloaded from this loop runs, on whatever
  // pool, and while a child process runs; and, until a second of real time has passed in silence, while a task
  // or a callback waits for a signal or an fd that is not fibrio's (fibrio/testing.hpp).
  bool virtual_time = false;
  // Seed of every random choice; 0 = from the system.
  std::uint64_t seed = 0;

  // The defaults, changed by the file that FIBRIO_CONFIG names (TOML; needs the component fibrio::toml linked
  // in), then by the environment: FIBRIO_WORKERS, FIBRIO_STACK_SIZE (bytes; suffixes K, M), FIBRIO_DEBUG,
  // FIBRIO_PIN_WORKERS (0/1/true/false), FIBRIO_MAX_BLOCKING_THREADS, FIBRIO_BLOCKING_KEEP_ALIVE and
  // FIBRIO_SLOW_CALLBACK_DURATION (seconds as a decimal number, or with a unit: "100ms", "50us"),
  // FIBRIO_VIRTUAL_TIME, FIBRIO_SEED. An empty variable is as good as none.
  // Throws: ConfigError naming key, value, source and allowed range; also for a variable whose name looks
  // like a slip of the pen.
  [[nodiscard]] static Config load();

  // Checks every field against its range. Called by EventLoop's constructor.
  // Throws: ConfigError naming field, value and allowed range.
  void validate() const;
};

namespace detail {
// Reads a configuration file into a Config; installed by fibrio::toml when it is linked in.
using ConfigFileReader = void (*)(const std::string& path, Config& config);
void set_config_file_reader(ConfigFileReader reader) noexcept;
// Applies one setting given as text, as load() does for the environment. `source` goes into the error.
void apply_setting(Config& config, const std::string& key, const std::string& value,
                   const std::string& source);
}  // namespace detail

}  // namespace fibrio
