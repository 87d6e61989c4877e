// What: what send_file and sock_sendfile share. Threads: any.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/sigpipe.hpp"
#include "base/syscalls.hpp"
#include "net/socket_calls.hpp"

namespace fibrio::detail {

// Which part of a file is sent, and how far it has got; leaves the file's position behind that, if anything
// was sent (asyncio's rule).
class FilePart {
 public:
  FilePart(int file, std::uint64_t offset, std::uint64_t count) noexcept
      : file_(file), offset_(offset), count_(count) {}
  FilePart(const FilePart&) = delete;
  FilePart& operator=(const FilePart&) = delete;
  ~FilePart() {
    if (sent_ > 0) sys::lseek(file_, position(), SEEK_SET);
  }

  [[nodiscard]] bool is_done() const noexcept { return sent_ == count_; }
  [[nodiscard]] std::uint64_t sent() const noexcept { return sent_; }
  void add_sent(std::size_t bytes) noexcept { sent_ += bytes; }

  // One sendfile; 0 at the end of the file. Bounded: a peer that reads as fast as we send would keep the
  // worker.
  [[nodiscard]] ssize_t send_to(int socket) noexcept {
    constexpr std::uint64_t kAtOnce = 1U << 20;
    off_t at = position();
    const auto wanted = static_cast<std::size_t>(std::min(count_ - sent_, kAtOnce));
    const ssize_t sent =
        sys::without_sigpipe(wanted, [&] { return sys::sendfile(socket, file_, &at, wanted); });
    if (sent > 0) sent_ += static_cast<std::uint64_t>(sent);
    return sent;
  }
  // What the file or its file system cannot do, or the kernel does not know.
  [[nodiscard]] bool is_refusal(ssize_t error) const noexcept {
    return sent_ == 0 && (sys::is_refusal(static_cast<int>(error)) || error == -EOPNOTSUPP);
  }

  // The slow way: `write_some(span)` returns how many bytes it took.
  template <class WriteSome>
  void copy(WriteSome&& write_some) {
    constexpr std::size_t kAtOnce = 64U << 10;
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kAtOnce);
    while (!is_done()) {
      const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(count_ - sent_, kAtOnce));
      const ssize_t count = sys::pread(file_, buffer.get(), wanted, position());
      if (count == -EINTR) continue;
      if (count < 0) fail(static_cast<int>(count), "pread of fd " + std::to_string(file_));
      if (count == 0) return;
      std::span<const std::byte> rest(buffer.get(), static_cast<std::size_t>(count));
      while (!rest.empty()) {
        const std::size_t written = write_some(rest);
        add_sent(written);
        rest = rest.subspan(written);
      }
    }
  }

 private:
  [[nodiscard]] off_t position() const noexcept { return static_cast<off_t>(offset_ + sent_); }

  const int file_;
  const std::uint64_t offset_;
  const std::uint64_t count_;
  std::uint64_t sent_ = 0;
};

}  // namespace fibrio::detail
