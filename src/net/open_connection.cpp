// What: open_connection and open_unix_connection.
// Threads: tasks only.

#include <string>
#include <string_view>
#include <utility>

#include "fibrio/streams.hpp"

namespace fibrio {

Streams open_connection(const std::string& host, std::uint16_t port, ConnectOptions options,
                        std::size_t limit) {
  return make_streams(make_byte_stream(TcpStream::connect(host, port, std::move(options))), limit);
}

Streams open_unix_connection(std::string_view path, ConnectOptions options, std::size_t limit) {
  return make_streams(make_byte_stream(UnixStream::connect(path, std::move(options))), limit);
}

}  // namespace fibrio
