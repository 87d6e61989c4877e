// Streams with buffers: reading by lines, separators and numbers of bytes, and writing that never waits, as
// asyncio's StreamReader and StreamWriter, over any ByteStream (TCP, Unix sockets, pipes, TLS).
//
//   auto [reader, writer] = fibrio::open_connection("example.org", 80);
//   writer.write("HEAD / HTTP/1.0\r\n\r\n");
//   writer.drain();
//   for (const std::string& line : reader.lines()) std::cout << line;
//
// Reading is done by the reading task itself: there is no task behind a reader, and nobody reads ahead. So an
// end or an error of the connection is seen by the next read or write, not by itself. Errors of the system are
// std::system_error whose text names the call.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fibrio/byte_stream.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/server.hpp"
#include "fibrio/sockets.hpp"

namespace fibrio {

namespace detail {
class StreamCore;
struct StreamCoreAccess;
// Where no member hides the function.
template <class Writer, class Context, class... Arguments>
void call_start_tls(Writer& writer, const Context& context, Arguments&&... arguments) {
  start_tls(writer, context, std::forward<Arguments>(arguments)...);
}
}  // namespace detail

// How long a line may be, if nothing else is said.
inline constexpr std::size_t kStreamLimit = 64 * 1024;

// The reading side of a stream. Movable; one that was moved from may only be assigned and destroyed. One task
// at a time reads: a second one gets RuntimeError. Every wait may be cancelled, and what had come is kept.
// After an error every read throws it again, also if data is left. Destroying a reader does not close the
// stream as long as there is its writer.
class StreamReader {
 public:
  // A reader of what is fed to it: for tests of code that reads. Throws: std::invalid_argument if limit is 0.
  explicit StreamReader(std::size_t limit = kStreamLimit);
  // A reader that has a stream for itself: the end of a pipe. Throws: std::invalid_argument if limit is 0.
  explicit StreamReader(std::unique_ptr<ByteStream> stream, std::size_t limit = kStreamLimit);
  StreamReader(StreamReader&&) noexcept;
  StreamReader& operator=(StreamReader&&) noexcept;
  ~StreamReader();

  // Returns what is there, at most `n` bytes, as soon as there is something; empty at the end of the stream.
  // n = 0: empty, at once. n < 0: everything up to the end.
  // Waits: if nothing is buffered (n < 0: until the end). Cancel: CancelledError, nothing is lost.
  // Throws: std::system_error; RuntimeError outside a task, and if another task is reading.
  std::string read(std::ptrdiff_t n = -1);
  // The same into a buffer, without a copy if nothing is buffered: the number of bytes; 0 = end of the stream
  // (or an empty buffer).
  std::size_t read_some(std::span<std::byte> buffer);
  // Returns exactly `n` bytes, which may be more than the limit. Waits: unless they are buffered.
  // Throws: IncompleteReadError at the end of the stream, and as read; std::invalid_argument for a number that
  // was negative.
  std::string readexactly(std::size_t n);
  // Returns a line with its "\n"; what is left at the end of the stream; then empty.
  // Waits: unless a line is buffered. Throws: std::invalid_argument (asyncio: ValueError) if the line is longer
  // than the limit: it is dropped, as far as it has come; and as read.
  std::string readline();
  // Returns what comes up to the separator, and the separator. Of several the one whose match ends first counts.
  // Waits: unless it is buffered. Throws: LimitOverrunError if more than the limit comes before it (nothing is
  // dropped); IncompleteReadError at the end of the stream; std::invalid_argument for an empty separator, and
  // for none; and as read.
  std::string readuntil(std::string_view separator = "\n");
  std::string readuntil(std::initializer_list<std::string_view> separators);
  std::string readuntil(std::span<const std::string_view> separators);

  // The lines up to the end of the stream, each as readline returns it.
  class Lines;
  [[nodiscard]] Lines lines();

  // True if the end of the stream was seen and nothing is buffered. Threads: who reads, or while nobody does.
  [[nodiscard]] bool at_eof() const;
  // How many bytes a read could return without a wait. Threads: as at_eof.
  [[nodiscard]] std::size_t buffered() const;
  [[nodiscard]] std::size_t limit() const noexcept;

  // What every read throws, or null.
  [[nodiscard]] std::exception_ptr exception() const;
  // Every read throws this from now on. A task that waits for fed data gets it at once; one that waits for a
  // connection when its wait is over. Threads: any. Throws: std::invalid_argument if it is null.
  void set_exception(std::exception_ptr exception);
  // Adds data behind what is buffered; ends the stream. Threads: any. Throws: RuntimeError for data after the
  // end.
  void feed_data(std::string_view data);
  void feed_eof();

 private:
  friend struct detail::StreamCoreAccess;
  explicit StreamReader(std::shared_ptr<detail::StreamCore> core) noexcept;
  std::shared_ptr<detail::StreamCore> core_;
};

// Makes another stream of one, given what was read ahead of it: see StreamWriter::replace_stream.
using StreamUpgrade =
    std::function<std::unique_ptr<ByteStream>(std::unique_ptr<ByteStream> stream, std::string read_ahead)>;

// The writing side of a stream. Movable; one that was moved from may only be assigned and destroyed. Destroying
// an open writer closes it, as close() does; in debug mode that is reported. Threads: tasks and callbacks of the
// loop; several tasks may write, each call as a whole.
class StreamWriter {
 public:
  // A writer that has a stream for itself: the end of a pipe.
  explicit StreamWriter(std::unique_ptr<ByteStream> stream);
  StreamWriter(StreamWriter&&) noexcept;
  StreamWriter& operator=(StreamWriter&&) noexcept;
  ~StreamWriter();

  // Hands data to the system, as much as it takes now; a task of the writer's sends the rest in the background.
  // Follow it by drain(), or a peer that does not read makes the buffer grow without end.
  // Waits: no. Throws: RuntimeError after write_eof(). Once the connection is lost, or close() was called, data
  // is dropped: drain() tells; the fifth time is reported to the exception handler.
  void write(std::string_view data) { write(std::as_bytes(std::span(data.data(), data.size()))); }
  void write(std::span<const std::byte> data);
  // Writes all parts as one: any range of what converts to std::string_view.
  template <std::ranges::input_range Parts>
  requires(std::convertible_to<std::ranges::range_reference_t<Parts>, std::string_view> &&
           !std::convertible_to<Parts, std::string_view>) void writelines(Parts&& parts) {
    std::string all;
    for (auto&& part : parts) all += std::string_view(part);
    write(all);
  }
  void writelines(std::initializer_list<std::string_view> parts) {
    writelines(std::span<const std::string_view>(parts.begin(), parts.size()));
  }
  // Waits until the buffer has shrunk to the low water mark, if it is above the high one. Several tasks may.
  // Waits: only then; gives way once after close(). Cancel: CancelledError, the data is sent all the same.
  // Throws: the error that the connection was lost by; std::system_error(ECONNRESET) if it is closed.
  void drain();

  // Tells the peer that nothing more comes, after what is buffered. Idempotent.
  // Throws: std::system_error, ENOTSUP where the stream cannot do that (TLS).
  void write_eof();
  [[nodiscard]] bool can_write_eof() const;

  // Sends what is buffered in the background, then closes the stream. A stream with a close_limit (TLS: its
  // shutdown_timeout) is reset if that is over before; wait_closed then throws TimeoutError. Others wait for their
  // peer as long as it takes, as asyncio's do: abort() ends that. Idempotent. Waits: no.
  void close() noexcept;
  // Closes at once, with a reset where there is such a thing: what is buffered is dropped.
  void abort() noexcept;
  [[nodiscard]] bool is_closing() const;
  // Returns when the stream is closed. Waits: if it is not. Cancel: CancelledError, nothing else changes.
  // Throws: the error by which the connection was lost.
  void wait_closed();

  // asyncio: get_extra_info("peername"), as far as it was asked for while the connection was there; else a
  // default Address.
  [[nodiscard]] Address peer_address() const;
  [[nodiscard]] Address local_address() const;
  // asyncio: get_extra_info("socket"): the fd, still owned by the stream; -1 if closed.
  [[nodiscard]] int native_handle() const noexcept;
  // asyncio: transport. What it is beyond a ByteStream, a cast tells. Good while the writer lives, and until
  // replace_stream. Throws: RuntimeError inside of replace_stream.
  [[nodiscard]] ByteStream& stream() const;

  // How many bytes wait to be sent.
  [[nodiscard]] std::size_t write_buffer_size() const;
  // The water marks of drain(). high: 64 KiB, or 4 * low; low: a quarter of high.
  // Throws: std::invalid_argument unless low <= high.
  void set_write_buffer_limits(std::optional<std::size_t> high = {}, std::optional<std::size_t> low = {});
  struct BufferLimits {
    std::size_t low;
    std::size_t high;
  };
  [[nodiscard]] BufferLimits write_buffer_limits() const;

  // Puts another stream under reader and writer, in the middle of a connection: `upgrade` gets the stream and
  // what was read ahead of the reader, and returns what takes its place (asyncio: start_tls). Before that all
  // that was written is sent. If `upgrade` throws, the connection is lost by that error.
  // Waits: until the buffer is sent, and as `upgrade` does. Cancel: CancelledError; inside of `upgrade` the
  // connection is lost. Throws: what `upgrade` throws; RuntimeError if a task is reading, or the writer is
  // closing. Threads: tasks only. What others write meanwhile goes over the new stream.
  void replace_stream(const StreamUpgrade& upgrade);
  // Puts TLS under reader and writer: start_tls(writer, context, arguments...) of the namespace of `context`
  // (fibrio/tls.hpp has it), which says the rest.
  template <class Context, class... Arguments>
  void start_tls(const Context& context, Arguments&&... arguments) {
    detail::call_start_tls(*this, context, std::forward<Arguments>(arguments)...);
  }

 private:
  friend struct detail::StreamCoreAccess;
  explicit StreamWriter(std::shared_ptr<detail::StreamCore> core) noexcept;
  void drop() noexcept;
  std::shared_ptr<detail::StreamCore> core_;
};

using Streams = std::pair<StreamReader, StreamWriter>;

// Reader and writer of one stream. Throws: std::invalid_argument if limit is 0.
[[nodiscard]] Streams make_streams(std::unique_ptr<ByteStream> stream, std::size_t limit = kStreamLimit);

// Connects, and makes reader and writer: see TcpStream::connect and UnixStream::connect. `limit`: see
// StreamReader.
[[nodiscard]] Streams open_connection(const std::string& host, std::uint16_t port,
                                      ConnectOptions options = {}, std::size_t limit = kStreamLimit);
[[nodiscard]] Streams open_unix_connection(std::string_view path, ConnectOptions options = {},
                                           std::size_t limit = kStreamLimit);

struct ServerOptions {
  int backlog = 1024;  // connections that wait to be accepted; the kernel caps it at net.core.somaxconn
  bool reuse_address = true;         // SO_REUSEADDR
  bool reuse_port = false;           // SO_REUSEPORT: several servers on one port share its connections
  bool keep_alive = false;           // SO_KEEPALIVE of the connections
  bool no_delay = true;              // TCP_NODELAY of the connections
  int family = AF_UNSPEC;            // of the addresses: AF_UNSPEC, AF_INET, AF_INET6
  std::size_t limit = kStreamLimit;  // of the readers
  // How many connections there may be at once, 0: any number. Further ones wait, in the end in the backlog.
  std::size_t max_connections = 0;
  // How many of them from one IP address, 0: any number. Further ones are reset at once.
  std::size_t max_connections_per_peer = 0;
  bool strand_per_connection = false;  // each handler, and what it starts, on a strand of its own
  bool start_serving = true;           // accept at once; else with Server::start_serving or serve_forever
  bool cleanup_socket = true;  // Unix: remove the socket's file at the end, if it is still the server's
  // Called before the handler, in its task: a TLS handshake. A std::system_error or TimeoutError of it closes
  // the connection, and nobody is told, but the exception handler in debug mode.
  StreamUpgrade upgrade = {};
};

// What serves one connection, in a task of its own (a free one, if it is to have no strand). What it throws is
// reported to the exception handler, a CancelledError is not; in any case the connection is closed at its end,
// as StreamWriter::close does it, unless it has moved the writer elsewhere.
using ConnectionHandler = std::function<void(StreamReader& reader, StreamWriter& writer)>;

// Binds all addresses of `host` (an empty one: of the machine) and serves what connects.
//
//   auto server = fibrio::start_server(
//       [](fibrio::StreamReader& reader, fibrio::StreamWriter& writer) {
//         for (const std::string& line : reader.lines()) writer.write(line), writer.drain();
//       },
//       "127.0.0.1", 8080);
//   server.serve_forever();
//
// Port 0: each address gets one of its own, see Server::sockets. IPv6 addresses are for IPv6 only. Addresses
// that the machine does not have are left out, if others are left.
// Waits: for the resolver, unless `host` is a literal; then gives way once. Throws: std::system_error naming the
// address, and as getaddrinfo; std::invalid_argument for an empty handler, and for options out of range;
// RuntimeError outside a task.
[[nodiscard]] Server start_server(ConnectionHandler handler, const std::string& host, std::uint16_t port,
                                  ServerOptions options = {});
[[nodiscard]] Server start_server(ConnectionHandler handler, const std::vector<std::string>& hosts,
                                  std::uint16_t port, ServerOptions options = {});
// Serves with a listener that exists. asyncio: start_server(sock=).
[[nodiscard]] Server start_server(ConnectionHandler handler, TcpListener listener,
                                  ServerOptions options = {});
// Listens on a Unix path or abstract name, as UnixListener::bind.
[[nodiscard]] Server start_unix_server(ConnectionHandler handler, std::string_view path,
                                       ServerOptions options = {});

class StreamReader::Lines {
 public:
  explicit Lines(StreamReader& reader) noexcept : reader_(&reader) {}

  class Iterator {
   public:
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;
    explicit Iterator(StreamReader& reader) : reader_(&reader), line_(reader.readline()) {}
    [[nodiscard]] const std::string& operator*() const noexcept { return line_; }
    Iterator& operator++() {
      line_ = reader_->readline();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& at, std::default_sentinel_t) noexcept { return at.line_.empty(); }

   private:
    StreamReader* reader_;
    std::string line_;
  };
  [[nodiscard]] Iterator begin() const { return Iterator(*reader_); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  StreamReader* reader_;
};
inline StreamReader::Lines StreamReader::lines() { return Lines(*this); }

}  // namespace fibrio
