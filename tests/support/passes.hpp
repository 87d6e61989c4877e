// What: steps of tests that asyncio writes as "run the loop briefly": exact passes with one worker; with
// several, where there are no passes, the same outcome after a while, whatever the order. Threads: a task of
// the test.
#pragma once

#include <algorithm>
#include <string>

#include "support/loops.hpp"

namespace fibrio::test {

// A number of rounds, fewer in sanitizer builds.
constexpr int rounds(int count) { return count / kSlowdown > 0 ? count / kSlowdown : 1; }

inline std::size_t count_words(const std::string& text) {
  return text.empty() ? 0 : static_cast<std::size_t>(std::count(text.begin(), text.end(), ' ')) + 1;
}

// After one pass the log is this; with several workers: it comes to have as many entries.
inline bool reaches(const EventLoop& loop, const Log& log, const std::string& expected) {
  if (loop.workers() == 1) {
    yield();
    return log.text() == expected;
  }
  return eventually_in_task([&] { return log.size() == count_words(expected); });
}

// After one pass nothing was added.
inline bool stays(const EventLoop& loop, const Log& log, const std::string& expected) {
  yield();
  return loop.workers() == 1 ? log.text() == expected : log.size() == count_words(expected);
}

// Lets all tasks that were started come to their waits: one pass; with several workers virtual time moves only
// when all of them wait.
inline void let_all_wait(const EventLoop& loop) {
  if (loop.workers() == 1) {
    yield();
  } else {
    sleep(1ms);
  }
}

// True after one pass; with several workers: after a while.
template <class Condition>
bool settles(const EventLoop& loop, Condition condition) {
  if (loop.workers() != 1) return eventually_in_task(condition);
  yield();
  return condition();
}

}  // namespace fibrio::test
