// Pipes, terminals and other fds of bytes as ByteStreams.
//
//   std::unique_ptr<fibrio::ByteStream> input = fibrio::connect_read_pipe(::dup(STDIN_FILENO));
#pragma once

#include <memory>

#include "fibrio/byte_stream.hpp"

namespace fibrio {

// Takes over the reading (writing) end of a pipe, a socket, a terminal or another character device: made
// non-blocking (for all who share the open file) and close-on-exec. The stream's other direction throws
// EBADF. A terminal whose other end is closed reads as ended. Writing without a reader is EPIPE, never
// SIGPIPE. shutdown_write() of a writing end closes it. Waits: no. Throws: std::invalid_argument for regular
// files and folders; std::system_error; then `fd` is still the caller's. asyncio: loop.connect_read_pipe,
// connect_write_pipe.
[[nodiscard]] std::unique_ptr<ByteStream> connect_read_pipe(int fd);
[[nodiscard]] std::unique_ptr<ByteStream> connect_write_pipe(int fd);

}  // namespace fibrio
