// What: functions that wait, whose names tests look for on stacks, and the looking. Threads: any.
#pragma once

#include <algorithm>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "support/loops.hpp"

namespace frames_of_test {

// Outside of fibrio's namespace, whose frames are not shown; neither inlined nor left by a tail call.
[[gnu::noinline]] inline void innermost(const std::function<void()>& body) {
  body();
  asm volatile("");
}
[[gnu::noinline]] inline void middle(const std::function<void()>& body) {
  innermost(body);
  asm volatile("");
}
[[gnu::noinline]] inline void outermost(const std::function<void()>& body) {
  middle(body);
  asm volatile("");
}

}  // namespace frames_of_test

namespace fibrio::test {

inline constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

// The index of the first frame of a function with this in its name.
inline std::size_t index_of(const std::vector<StackFrame>& stack, const std::string& name) {
  const auto found = std::find_if(stack.begin(), stack.end(), [&](const StackFrame& frame) {
    return frame.function().find(name) != std::string::npos;
  });
  return found == stack.end() ? kNowhere : static_cast<std::size_t>(found - stack.begin());
}
inline bool has(const std::vector<StackFrame>& stack, const std::string& name) {
  return index_of(stack, name) != kNowhere;
}
// innermost, middle and outermost, in this order.
inline bool has_all_three(const std::vector<StackFrame>& stack) {
  const std::size_t inner = index_of(stack, "frames_of_test::innermost");
  const std::size_t middle = index_of(stack, "frames_of_test::middle");
  const std::size_t outer = index_of(stack, "frames_of_test::outermost");
  return inner < middle && middle < outer && outer != kNowhere;
}
inline std::string text_of(const std::vector<StackFrame>& stack) {
  std::ostringstream out;
  for (const StackFrame& frame : stack) out << frame << '\n';
  return out.str();
}
inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Waits until the task waits for this.
inline bool comes_to_wait(const AnyTask& task, WaitReason reason) {
  return eventually_in_task([&] {
    const TaskInfo info = inspect(task);
    return info.state == TaskState::kWaiting && info.reason == reason;
  });
}

}  // namespace fibrio::test
