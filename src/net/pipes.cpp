// What: one direction of a pipe, or of what reads and writes like one.
#include "fibrio/pipes.hpp"

#include <cerrno>
#include <stdexcept>
#include <string>

#include "base/sigpipe.hpp"
#include "net/socket_calls.hpp"
#include "net/socket_operation.hpp"

namespace fibrio {

using detail::Direction;
using detail::Socket;

namespace {

class PipeStream final : public ByteStream {
 public:
  PipeStream(int fd, Direction direction, bool is_device)
      // A short read says nothing: a pipe may end behind it without another edge.
      : socket_(Socket::adopt(fd, false)), direction_(direction), is_device_(is_device) {}
  PipeStream(const PipeStream&) = delete;
  PipeStream& operator=(const PipeStream&) = delete;
  ~PipeStream() override { PipeStream::close(); }

  std::size_t read_some(std::span<std::byte> buffer) override {
    require(Direction::read, "read");
    if (buffer.empty()) return 0;
    Socket::Operation operation(*socket_, "read");
    const ssize_t count = until_done(operation, Direction::read, [&] {
      const ssize_t result = sys::read(operation.fd(), buffer.data(), buffer.size());
      return result == -EIO && is_device_ ? 0 : result;  // a terminal without its other end
    });
    return static_cast<std::size_t>(count);
  }
  std::size_t write_some(std::span<const std::byte> data) override {
    require(Direction::write, "write");
    if (data.empty()) return 0;
    Socket::Operation operation(*socket_, "write");
    return static_cast<std::size_t>(
        until_done(operation, Direction::write, [&] { return write_now(operation.fd(), data); }));
  }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    require(Direction::write, "write");
    if (data.empty()) return 0;
    const Socket::Operation operation(*socket_, "write");
    ssize_t written = 0;
    do {
      written = write_now(operation.fd(), data);
    } while (written == -EINTR);
    if (written < 0 && written != -EAGAIN) operation.fail(static_cast<int>(written));
    return written < 0 ? 0 : static_cast<std::size_t>(written);
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return direction_ == Direction::write; }
  void shutdown_write() override {
    require(Direction::write, "shutdown_write");
    close();
  }
  void close() noexcept override { socket_->close(socket_); }
  void abort() noexcept override { close(); }
  [[nodiscard]] bool is_open() const noexcept override { return socket_->is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return socket_->fd(); }

 private:
  void require(Direction direction, const char* call) const {
    if (direction != direction_) throw std::system_error(EBADF, std::system_category(), call);
  }
  static ssize_t write_now(int fd, std::span<const std::byte> data) {
    return sys::without_sigpipe(data.size(), [&] { return sys::write(fd, data.data(), data.size()); });
  }
  template <class Call>
  static ssize_t until_done(Socket::Operation& operation, Direction direction, Call&& call) {
    operation.spend();
    for (;;) {
      const auto seen = operation.look(direction);
      if (detail::Readiness<>::is_ready(seen)) {
        const ssize_t result = call();
        if (result >= 0) return result;
        if (result == -EINTR) continue;
        if (result != -EAGAIN) operation.fail(static_cast<int>(result));
        operation.would_block(direction, seen);
      }
      operation.wait(direction);
    }
  }

  const std::shared_ptr<Socket> socket_;
  const Direction direction_;
  const bool is_device_;
};

std::unique_ptr<ByteStream> connect_pipe(int fd, Direction direction, const char* call) {
  const std::string on_fd = " on fd " + std::to_string(fd);
  struct stat file {};
  if (const int error = sys::fstat(fd, &file); error < 0) detail::fail(error, std::string(call) + on_fd);
  if (!S_ISFIFO(file.st_mode) && !S_ISSOCK(file.st_mode) && !S_ISCHR(file.st_mode)) {
    throw std::invalid_argument(std::string(call) +
                                " is for pipes, sockets and character devices, not for what is" + on_fd +
                                "; use to_thread for files");
  }
  detail::make_non_blocking(fd, on_fd);
  return std::make_unique<PipeStream>(fd, direction, S_ISCHR(file.st_mode));
}

}  // namespace

std::unique_ptr<ByteStream> connect_read_pipe(int fd) {
  return connect_pipe(fd, Direction::read, "connect_read_pipe");
}
std::unique_ptr<ByteStream> connect_write_pipe(int fd) {
  return connect_pipe(fd, Direction::write, "connect_write_pipe");
}

}  // namespace fibrio
