// Question: how many instructions does each hot path of one worker take? Unit: instructions per operation, counted by
// callgrind; a good answer is the one of baseline.txt, or less. Run by check.sh. Not measured: the kernel, the clock,
// cache misses, atomics' real price, several workers.
//   instruction_paths           runs every path
//   instruction_paths --about   prints what the figures depend on
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>

#include "fibrio/fibrio.hpp"
#include "meter.hpp"

namespace instructions = fibrio::instructions;

int main(int count, char** arguments) {
  if (count > 1 && std::strcmp(arguments[1], "--about") == 0) {
    std::puts("compiler: " FIBRIO_COMPILER "\nflags: " FIBRIO_FLAGS);
    return 0;
  }
  fibrio::Config config;
  config.workers = 1;
  config.seed = 1;
  fibrio::Config timers = config;
  timers.virtual_time = true;  // nobody waits for them
  fibrio::run(
      [] {
        instructions::count_tasks();
        instructions::count_composition();
        instructions::count_waits();
        instructions::count_streams();
      },
      config);
  fibrio::run([] { instructions::count_timers(); }, timers);
  instructions::count_run_queue();

  // A process that has had a second thread uses locked instructions, by other paths.
  std::thread([] {}).join();
  instructions::path_prefix = "threads_";
  fibrio::run(
      [] {
        instructions::count_tasks();
        instructions::count_waits();
      },
      config);
}

// The clock of the whole program. By the real one, what is done every 0.25 s (giving memory back) would fall into one
// path or another, more often on a busy machine.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (clock != CLOCK_MONOTONIC) return static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  constexpr long kMicrosPerSecond = 1'000'000;
  static long looks = kMicrosPerSecond;  // a microsecond passes between two looks
  ++looks;
  time->tv_sec = looks / kMicrosPerSecond;
  time->tv_nsec = looks % kMicrosPerSecond * 1'000;
  return 0;
}
