// What: timeouts of the client that say which one they are; and whether it may wait at all.
// Threads: tasks.
#pragma once

#include <exception>
#include <string>
#include <type_traits>
#include <utility>

#include "fibrio/fibrio.hpp"

namespace fibrio::http::detail {

// Whether the caller may wait: it is no callback, and no plain thread.
[[nodiscard]] inline bool is_in_task() noexcept {
  try {
    static_cast<void>(current_task());
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

// Calls `body` with a limit, a Duration or a TimePoint. Throws: TimeoutError with `which` if it is this one
// that is over; those of the body as they are.
template <class Limit, class Body>
std::invoke_result_t<Body> in_time(const char* which, Limit limit, Body&& body) {
  bool is_bodys = false;
  const auto call = [&] {
    try {
      return body();
    } catch (const TimeoutError&) {
      is_bodys = true;
      throw;
    }
  };
  try {
    if constexpr (std::is_same_v<Limit, TimePoint>) {
      return timeout_at(limit, call);
    } else {
      return timeout(limit, call);
    }
  } catch (const TimeoutError&) {
    if (is_bodys) throw;
    throw TimeoutError(std::string("timed out (") + which + ')');
  }
}

}  // namespace fibrio::http::detail
