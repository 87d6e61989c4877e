// What: one datagram in, one out. Threads: any.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string_view>

#include "base/syscalls.hpp"
#include "fibrio/datagrams.hpp"

namespace fibrio::detail {

[[nodiscard]] inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// One datagram, or -errno; never blocks.
[[nodiscard]] inline ssize_t receive_datagram(int fd, std::span<std::byte> buffer, Datagram& datagram) {
  sockaddr_storage from{};
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ssize_t count = 0;
  do {
    count = sys::recvmsg(fd, &message, MSG_TRUNC | MSG_DONTWAIT);  // the result is the datagram's length
  } while (count == -EINTR);
  if (count < 0) return count;
  datagram.full_size = static_cast<std::size_t>(count);
  datagram.size = std::min(datagram.full_size, buffer.size());
  if (message.msg_namelen == 0) {  // a Unix socket without a name
    from.ss_family = AF_UNIX;
    message.msg_namelen = sizeof from.ss_family;
  }
  datagram.from = Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&from), message.msg_namelen);
  return count;
}

// `to` null: the peer. The number of bytes, or -errno; never blocks.
[[nodiscard]] inline ssize_t send_datagram(int fd, std::span<const std::byte> data, const Address* to) {
  iovec part{const_cast<std::byte*>(data.data()), data.size()};  // sendmsg only reads it
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (to != nullptr) {
    message.msg_name = const_cast<sockaddr*>(to->data());
    message.msg_namelen = to->size();
  }
  ssize_t sent = 0;
  do {
    sent = sys::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent == -EINTR);
  return sent;
}

}  // namespace fibrio::detail
