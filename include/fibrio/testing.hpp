// Helpers for tests of programs that use fibrio: a clock that the test moves, and connections in memory.
//
// What holds the virtual clock. For as long as it lasts: a ready task, a call on a thread pool, a child process. For
// one second of real time in which nothing comes from outside, and then not again until something has come: a wait for
// a signal, wait_readable and add_reader. Not at all: sockets, but for the 0.1 ms of real time that loopback data may
// take. If no timer is armed, and something could come on an fd, the run goes on for such a second; then it ends in a
// DeadlockError that names the tasks and what they wait for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "fibrio/byte_stream.hpp"
#include "fibrio/clock.hpp"

namespace fibrio {

// Moves the running loop's virtual clock forward without waiting, as a long computation would; timers that
// are due then fire in the next pass. Waits: no. Throws: RuntimeError outside a running loop, or if the loop
// has real time (it needs Config::virtual_time); std::invalid_argument for a negative duration.
// Threads: the loop's.
void advance_time(AnyDuration duration);

struct StreamPairOptions {
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  // How long every byte, end and reset is on its way, on the loop's clock. With Config::virtual_time it costs
  // no time.
  AnyDuration latency = Duration::zero();
  // How many bytes of a direction may be on their way or unread; a write waits beyond. At least 1.
  std::size_t capacity = 64 * 1024;
  // How many bytes one call reads or writes at most; 1 shows what a program takes for granted. At least 1.
  std::size_t max_read = std::numeric_limits<std::size_t>::max();
  std::size_t max_write = std::numeric_limits<std::size_t>::max();
  // The connection is cut once `first` (`second`) has written so many bytes: those arrive, then there is
  // ECONNRESET for both.
  std::uint64_t cut_first_after = kNever;
  std::uint64_t cut_second_after = kNever;
  // Whether there is shutdown_write, as in TCP; else it throws ENOTSUP.
  bool half_close = true;
};

// Two connected ends.
struct StreamPair {
  std::unique_ptr<ByteStream> first;
  std::unique_ptr<ByteStream> second;
};

// Makes a connection in memory: no fd, no kernel, no port, the same on every run. It does what TCP does, but
// close() never resets. Each end is a ByteStream of its own: any worker may use it, and destroying one, which
// closes it, is fine while a task waits at the other. native_handle() is -1 and addresses are empty.
//
//   auto [client, server] = fibrio::make_stream_pair({.latency = 10ms, .max_read = 1});
//
// Throws: std::invalid_argument for an option out of range.
[[nodiscard]] StreamPair make_stream_pair(StreamPairOptions options = {});

}  // namespace fibrio
