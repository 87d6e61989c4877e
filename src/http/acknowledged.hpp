// What: how much of what was sent has arrived.
// Threads: any.
#pragma once

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

namespace fibrio::http {

// How many bytes the peer has acknowledged; 0 where that cannot be said. A full socket takes more of us only when
// a good part of it is free, so this says sooner whether a slow peer still reads.
inline std::uint64_t acknowledged_bytes(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  const bool is_there = size >= offsetof(tcp_info, tcpi_bytes_acked) + sizeof info.tcpi_bytes_acked;
  return is_there ? info.tcpi_bytes_acked : 0;
}

}  // namespace fibrio::http
