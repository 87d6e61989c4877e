// What: what the sockets of this room share: options, addresses, errors that name the call. Threads: any.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <string>
#include <system_error>

#include "base/syscalls.hpp"
#include "fibrio/sockets.hpp"
#include "net/socket.hpp"

namespace fibrio::detail {

// `error` is a -errno.
[[noreturn]] inline void fail(int error, const std::string& what) {
  throw std::system_error(-error, std::system_category(), what);
}

inline Socket& open_or_throw(const std::shared_ptr<Socket>& socket, const char* call) {
  if (socket == nullptr) throw std::system_error(EBADF, std::system_category(), call);
  return *socket;
}

inline void set_int_option(int fd, int level, int name, int value, const char* what) {
  const int error = sys::setsockopt(fd, level, name, &value, sizeof value);
  if (error < 0) fail(error, what);
}

[[nodiscard]] inline int get_int_option(int fd, int level, int name, const std::string& what) {
  int value = 0;
  socklen_t length = sizeof value;
  const int error = sys::getsockopt(fd, level, name, &value, &length);
  if (error < 0) fail(error, what);
  return value;
}

// Makes an fd of the user's one of ours. `where` is what the text of an error ends with.
inline void make_non_blocking(int fd, const std::string& where) {
  const int flags = sys::fcntl(fd, F_GETFL);
  if (flags < 0) fail(flags, "fcntl(F_GETFL)" + where);
  if (const int error = sys::fcntl(fd, F_SETFL, flags | O_NONBLOCK); error < 0)
    fail(error, "fcntl(F_SETFL)" + where);
  if (const int error = sys::fcntl(fd, F_SETFD, FD_CLOEXEC); error < 0) fail(error, "fcntl(F_SETFD)" + where);
}

}  // namespace fibrio::detail
