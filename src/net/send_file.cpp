#include "net/send_file.hpp"

#include "fibrio/byte_stream.hpp"
#include "fibrio/sockets.hpp"
#include "net/socket_operation.hpp"

namespace fibrio {

using detail::Direction;
using detail::Socket;

std::uint64_t TcpStream::send_file(int file, std::uint64_t offset, std::uint64_t count) {
  Socket::Operation operation(detail::open_or_throw(socket_, "sendfile"), "sendfile");
  detail::FilePart part(file, offset, count);
  while (!part.is_done()) {
    operation.spend();
    const auto seen = operation.look(Direction::write);
    if (detail::Readiness<>::is_ready(seen)) {
      const ssize_t sent = part.send_to(operation.fd());
      if (sent > 0) continue;
      if (sent == 0) break;
      if (sent == -EINTR) continue;
      if (part.is_refusal(sent)) {
        part.copy([this](std::span<const std::byte> data) { return write_some(data); });
        break;
      }
      if (sent != -EAGAIN) operation.fail(static_cast<int>(sent));
      operation.would_block(Direction::write, seen);
    }
    operation.wait(Direction::write);
  }
  return part.sent();
}

std::uint64_t ByteStream::send_file(int file, std::uint64_t offset, std::uint64_t count) {
  detail::FilePart part(file, offset, count);
  part.copy([this](std::span<const std::byte> data) { return write_some(data); });
  return part.sent();
}

}  // namespace fibrio
