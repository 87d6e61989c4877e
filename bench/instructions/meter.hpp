// What: counts the instructions of one operation. Every path is run twice with the same number of operations: once
//   so that stacks, allocator and queues are as warm as they get, once between two requests to callgrind, which dumps
//   its counters under the path's name. check.sh reads the dumps. Without callgrind the requests do nothing.
// Threads: one.
#pragma once

#include <valgrind/callgrind.h>

#include <string>

namespace fibrio::instructions {

// Before the name of every path from now on.
inline std::string path_prefix;

// `prepare(n)` is not counted and gives what `run` is called with besides n.
template <class Prepare, class Run>
void count_prepared(const std::string& path, int operations, Prepare prepare, Run run) {
  const std::string title = path_prefix + path + " " + std::to_string(operations);
  {
    auto warm = prepare(operations);
    run(operations, warm);
  }
  auto prepared = prepare(operations);
  CALLGRIND_ZERO_STATS;
  run(operations, prepared);
  CALLGRIND_DUMP_STATS_AT(title.c_str());
}

// `run(n)` does the operation n times.
template <class Run>
void count(const std::string& path, int operations, Run run) {
  count_prepared(
      path, operations, [](int) { return 0; }, [&run](int n, int) { run(n); });
}

void count_tasks();
void count_composition();
void count_waits();
void count_timers();
void count_streams();
void count_run_queue();

}  // namespace fibrio::instructions
