// What: looking whether a stream has input, without waiting for any.
#include <poll.h>

#include "fibrio/byte_stream.hpp"
#include "fibrio/timeouts.hpp"

namespace fibrio {

// By poll, which needs no errno: that of recv, inlined into code that waits, was read on another thread than
// it was set on. An fd that poll does not know has the error that a read will give.
bool detail::has_input(int fd) noexcept {
  pollfd state{fd, POLLIN | POLLRDHUP, 0};
  return ::poll(&state, 1, 0) != 0;
}

std::optional<std::size_t> ByteStream::try_read_some(std::span<std::byte> buffer) {
  // The second try looks in any case: the first one may have waited because its task had to give way.
  for (int tries = 0; tries < 2; ++tries) {
    try {
      return timeout(Duration::zero(), [&] { return read_some(buffer); });
    } catch (const TimeoutError&) {
    }
  }
  return std::nullopt;
}

}  // namespace fibrio
