// A connected stream of bytes, whatever is behind it: TCP, a Unix socket, a pipe, TLS. What works on any of
// them (stream readers and writers, TLS, HTTP, the adaptor for Boost.Asio's synchronous streams) takes this.
//
//   std::unique_ptr<fibrio::ByteStream> stream = fibrio::make_byte_stream(fibrio::TcpStream::connect("::1", 80));
//
// Who owns a stream destroys it when nobody is inside an operation any more. One task may read while another
// one writes. Every wait can be cancelled and leaves the stream usable. Errors of the system are
// std::system_error whose text names the call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "fibrio/clock.hpp"
#include "fibrio/sockets.hpp"

namespace fibrio {

class ByteStream {
 public:
  ByteStream() = default;
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;
  virtual ~ByteStream() = default;

  // Reads at least one byte, at most buffer.size(); returns how many; 0 = end of stream (or an empty buffer).
  // Waits: if nothing is there. Cancel: CancelledError, nothing is lost. Throws: std::system_error.
  virtual std::size_t read_some(std::span<std::byte> buffer) = 0;
  // Reads what is there now; nothing if nothing is; 0 = end of stream (or an empty buffer). This one tries
  // read_some twice and cancels it where it waits, which relies on the word of read_some that nothing is lost
  // then. Sockets and TLS do it without a wait. Waits: this one, for a pass of the ready queue or two.
  // Cancel, Throws: as read_some.
  virtual std::optional<std::size_t> try_read_some(std::span<std::byte> buffer);
  // Whether the stream itself holds input that no read has returned: read ahead, decrypted, or a part of what
  // cannot be decrypted yet. A stream that wraps another one answers for both.
  [[nodiscard]] virtual bool has_buffered_input() const { return false; }
  // Writes at least one byte of `data`, returns how many; 0 only for empty data.
  // Waits: while there is no room. Cancel: CancelledError, nothing was written. Throws: std::system_error.
  virtual std::size_t write_some(std::span<const std::byte> data) = 0;
  // The same without waiting: 0 if there is no room now. Any thread that may use the stream.
  virtual std::size_t try_write_some(std::span<const std::byte> data) = 0;
  // Writes all of it. Waits: while there is no room. Cancel: CancelledError; how much was written is unknown.
  virtual void write_all(std::span<const std::byte> data) {
    while (!data.empty()) data = data.subspan(write_some(data));
  }
  // Writes all of two buffers, in as few calls as the stream can.
  virtual void write_all(std::span<const std::byte> first, std::span<const std::byte> second) {
    write_all(first);
    write_all(second);
  }

  // Sends `count` bytes of `file`, a regular file, from `offset` on, or less if it ends before; returns how
  // many. If anything was sent, the file's position is then behind it. This one copies, in pieces of 64 KiB;
  // a stream that can do better does. Waits, Cancel, Throws: as TcpStream::send_file.
  virtual std::uint64_t send_file(int file, std::uint64_t offset = 0, std::uint64_t count = kToEndOfFile);

  // Whether the peer can be told that nothing more comes while reading goes on (TLS and pipes: no).
  [[nodiscard]] virtual bool can_shutdown_write() const noexcept = 0;
  // Tells it. Throws: std::system_error, ENOTSUP where that is not possible.
  virtual void shutdown_write() = 0;
  // Tells it in whatever way there is (TCP's FIN, TLS's close_notify), or not at all, once all that was written is
  // on its way. Nothing may be written after it; what comes may be read on, though the peer's answer to TLS's word
  // may be an end. Waits: while there is no room. Cancel: CancelledError. Throws: std::system_error.
  virtual void end_output() {
    if (can_shutdown_write()) shutdown_write();
  }
  // Whether something that a write took is not on its way yet, as TLS's last record may be.
  [[nodiscard]] virtual bool has_unsent() const noexcept { return false; }
  // How long a StreamWriter that was closed goes on sending what was written before; after that the connection is
  // reset. Negative: as long as it takes.
  [[nodiscard]] virtual Duration close_limit() const noexcept { return Duration(-1); }
  // Closes; idempotent; waits for nothing. A task inside an operation gets std::system_error(ECANCELED).
  virtual void close() noexcept = 0;
  // Closes with a reset, where there is such a thing: what was not sent yet is dropped.
  virtual void abort() noexcept = 0;
  [[nodiscard]] virtual bool is_open() const noexcept = 0;

  // The fd of the transport, still owned by the stream; -1 if closed.
  [[nodiscard]] virtual int native_handle() const noexcept = 0;
  // Addresses of a socket; a default Address for what has none.
  [[nodiscard]] virtual Address local_address() const { return {}; }
  [[nodiscard]] virtual Address peer_address() const { return {}; }
};

namespace detail {
// Whether a read of the socket or pipe would not wait: there is something, the end, or an error.
[[nodiscard]] bool has_input(int fd) noexcept;
}  // namespace detail

// A stream type of fibrio's (TcpStream and its like) as a ByteStream.
template <class Stream>
class OwnedByteStream final : public ByteStream {
 public:
  explicit OwnedByteStream(Stream stream) noexcept : stream_(std::move(stream)) {}

  std::size_t read_some(std::span<std::byte> buffer) override { return stream_.read_some(buffer); }
  std::optional<std::size_t> try_read_some(std::span<std::byte> buffer) override {
    if (const int fd = stream_.native_handle(); fd >= 0 && !detail::has_input(fd)) return std::nullopt;
    return stream_.read_some(buffer);
  }
  std::size_t write_some(std::span<const std::byte> data) override { return stream_.write_some(data); }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    return stream_.try_write_some(data);
  }
  void write_all(std::span<const std::byte> data) override { stream_.write_all(data); }
  void write_all(std::span<const std::byte> first, std::span<const std::byte> second) override {
    stream_.write_all(first, second);
  }
  std::uint64_t send_file(int file, std::uint64_t offset, std::uint64_t count) override {
    if constexpr (requires { stream_.send_file(file, offset, count); }) {
      return stream_.send_file(file, offset, count);
    } else {
      return ByteStream::send_file(file, offset, count);
    }
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return true; }
  void shutdown_write() override { stream_.shutdown_write(); }
  void close() noexcept override { stream_.close(); }
  void abort() noexcept override { stream_.abort(); }
  [[nodiscard]] bool is_open() const noexcept override { return stream_.is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return stream_.native_handle(); }
  [[nodiscard]] Address local_address() const override { return stream_.local_address(); }
  [[nodiscard]] Address peer_address() const override { return stream_.peer_address(); }

  [[nodiscard]] Stream& get() noexcept { return stream_; }

 private:
  Stream stream_;
};

template <class Stream>
[[nodiscard]] std::unique_ptr<ByteStream> make_byte_stream(Stream stream) {
  return std::make_unique<OwnedByteStream<Stream>>(std::move(stream));
}

}  // namespace fibrio
