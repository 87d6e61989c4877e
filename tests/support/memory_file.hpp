// What: a file that has no name, at its beginning. Threads: one at a time.
#pragma once

#include <sys/mman.h>

#include "support/net.hpp"

namespace fibrio::net_test {

class MemoryFile {
 public:
  explicit MemoryFile(std::span<const std::byte> content) : fd_(::memfd_create("fibrio_test", MFD_CLOEXEC)) {
    while (!content.empty()) {
      const ssize_t count = ::write(fd_.fd(), content.data(), content.size());
      expect(count > 0, "a write to the file");
      content = content.subspan(static_cast<std::size_t>(count));
    }
    seek(0);
  }
  [[nodiscard]] int fd() const { return fd_.fd(); }
  [[nodiscard]] std::uint64_t position() const {
    return static_cast<std::uint64_t>(::lseek(fd_.fd(), 0, SEEK_CUR));
  }
  void seek(std::uint64_t to) { ::lseek(fd_.fd(), static_cast<off_t>(to), SEEK_SET); }

 private:
  RawPeer fd_;
};

}  // namespace fibrio::net_test
