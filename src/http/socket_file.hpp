// What: the file of a Unix listener that this server has made, removed with its listener.
// Threads: its server's.
// Invariant: a file is removed only if it is still the one that was made (device and inode), by the process that made
//   it: a successor may have put its own there, and a child of a fork is not the server.
#pragma once

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "fibrio/sockets.hpp"

namespace fibrio::http {

class SocketFile {
 public:
  // `address`: what was bound just now; of another family, or an abstract name, there is no file.
  explicit SocketFile(const Address& address) : path_(path_of(address)), process_(::getpid()) {
    if (!path_.empty() && !look(made_)) path_.clear();
  }
  SocketFile(SocketFile&& other) noexcept
      : path_(std::exchange(other.path_, {})), process_(other.process_), made_(other.made_) {}
  SocketFile& operator=(SocketFile&&) = delete;
  ~SocketFile() {
    struct stat now {};
    if (path_.empty() || process_ != ::getpid() || !look(now)) return;
    if (now.st_dev == made_.st_dev && now.st_ino == made_.st_ino) ::unlink(path_.c_str());
  }

 private:
  static std::string path_of(const Address& address) {
    if (address.family() != AF_UNIX) return {};
    sockaddr_un name{};
    std::memcpy(&name, address.data(), std::min<std::size_t>(address.size(), sizeof name - 1));
    return name.sun_path;
  }
  bool look(struct stat& status) const {
    return ::lstat(path_.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
  }

  std::string path_;  // empty: there is nothing to remove
  pid_t process_;
  struct stat made_ {};
};

}  // namespace fibrio::http
