// A ByteStream as a synchronous stream of Boost.Asio: SyncReadStream and SyncWriteStream. Libraries that are
// written over such streams (Boost.Beast's HTTP and WebSocket, asio::read_until, database clients) then run
// on fibers, without Asio's event loop: their blocking calls suspend the task.
//
//   auto stream = fibrio::make_byte_stream(fibrio::TcpStream::connect("example.org", 80));
//   fibrio::AsioStream asio_stream(*stream);
//   boost::beast::http::write(asio_stream, request);
//   boost::beast::http::read(asio_stream, buffer, response);
//
// Needs Boost's headers (Debian: libboost-dev) and nothing of them to link; `Boost::headers` in CMake. Only
// synchronous functions work on it. A library that makes a timer for its executor (Beast's websocket::stream)
// costs three fds, once per process. What is inlined from a library into code that waits must keep nothing in
// a thread_local, whose address the compiler may keep over a wait that ends on another thread: Beast's
// WebSocket client has its masks from one, so it is for loops of one worker (fibrio::http has WebSockets for
// all). fibrio.hpp does not include this.
#pragma once

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <system_error>

#include "fibrio/byte_stream.hpp"

namespace fibrio {

// Refers to a stream that lives longer; copies refer to the same one.
// Cancel: CancelledError goes through all functions, those with an error_code too, and through the library
// above; what state that is in then is its own affair: close the stream.
// Threads: as the stream: one task may read while another one writes, if the library above allows that (a
// websocket::stream does not: its reading answers pings).
class AsioStream {
 public:
  using executor_type = boost::asio::system_executor;
  using lowest_layer_type = AsioStream;

  explicit AsioStream(ByteStream& stream) noexcept : stream_(&stream) {}

  [[nodiscard]] executor_type get_executor() const noexcept { return {}; }
  [[nodiscard]] lowest_layer_type& lowest_layer() noexcept { return *this; }
  [[nodiscard]] ByteStream& stream() const noexcept { return *stream_; }

  // Read at least one byte into the first buffer that has room, and return how many; 0 if none has.
  // Waits: if nothing is there. Throws: boost::system::system_error; asio::error::eof at the end of stream.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers) {
    boost::system::error_code error;
    const std::size_t count = read_some(buffers, error);
    if (error) throw boost::system::system_error(error, "read_some");
    return count;
  }
  // The same with the error in `error`. One that is not the system's (of TLS, say) is EIO; last_error() has
  // the original.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers, boost::system::error_code& error) {
    error = {};
    const auto end = boost::asio::buffer_sequence_end(buffers);
    for (auto i = boost::asio::buffer_sequence_begin(buffers); i != end; ++i) {
      const boost::asio::mutable_buffer buffer(*i);
      if (buffer.size() == 0) continue;
      return attempt(error, [&] {
        const std::size_t count =
            stream_->read_some(std::span(static_cast<std::byte*>(buffer.data()), buffer.size()));
        if (count == 0) error = boost::asio::error::eof;
        return count;
      });
    }
    return 0;
  }

  // Write at least one byte of `buffers` and return how many; 0 if they are empty. Small buffers are put
  // together, so that a header made of many leaves in one piece.
  // Waits: while there is no room. Throws: boost::system::system_error.
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers) {
    boost::system::error_code error;
    const std::size_t count = write_some(buffers, error);
    if (error) throw boost::system::system_error(error, "write_some");
    return count;
  }
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers, boost::system::error_code& error) {
    error = {};
    std::array<std::byte, kGathered> gathered;
    std::size_t used = 0;
    const auto end = boost::asio::buffer_sequence_end(buffers);
    for (auto i = boost::asio::buffer_sequence_begin(buffers); i != end && used < kGathered; ++i) {
      const boost::asio::const_buffer buffer(*i);
      const std::span data(static_cast<const std::byte*>(buffer.data()), buffer.size());
      if (data.empty()) continue;
      if (used == 0 && data.size() >= kGathered) {
        return attempt(error, [&] { return stream_->write_some(data); });
      }
      const std::size_t count = std::min(data.size(), kGathered - used);
      std::memcpy(gathered.data() + used, data.data(), count);
      used += count;
    }
    if (used == 0) return 0;
    return attempt(error, [&] { return stream_->write_some(std::span(gathered).first(used)); });
  }

  // What the stream failed with last.
  [[nodiscard]] const std::error_code& last_error() const noexcept { return last_error_; }

  // How Beast's WebSocket ends the connection below it, after its closing handshake.
  friend void teardown(boost::beast::role_type, AsioStream& stream, boost::system::error_code& error) {
    error = {};
    stream.stream_->close();
  }

 private:
  static constexpr std::size_t kGathered = 2048;

  template <class Call>
  std::size_t attempt(boost::system::error_code& error, Call&& call) {
    try {
      return call();
    } catch (const std::system_error& failure) {
      last_error_ = failure.code();
      const bool is_systems = last_error_.category() == std::system_category() ||
                              last_error_.category() == std::generic_category();
      error.assign(is_systems ? last_error_.value() : EIO, boost::system::system_category());
      return 0;
    }
  }

  ByteStream* stream_;
  std::error_code last_error_;
};

}  // namespace fibrio
