// What: the owner of one file descriptor.
// Threads: none of its own; one owner at a time.
// Invariant: the fd is closed exactly once, by whoever holds it last. close is never retried: Linux frees the
// number before it can be interrupted, so a second close could hit an fd that another thread just opened.
#pragma once

#include <cerrno>
#include <utility>

#include "base/check.hpp"
#include "base/syscalls.hpp"

namespace fibrio::sys {

class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  // Takes over `fd`; a negative one (also an error of a sys:: call) makes an empty owner.
  explicit UniqueFd(int fd) noexcept : fd_(fd < 0 ? kNone : fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.take_fd()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.take_fd());
    return *this;
  }
  ~UniqueFd() { reset(); }

  // Closes what is held and takes over `fd`.
  void reset(int fd = kNone) noexcept {
    close();
    fd_ = fd < 0 ? kNone : fd;
  }
  // Closes now; returns 0 or the -errno of close. The fd is gone either way.
  int close() noexcept {
    if (fd_ == kNone) return 0;
    int result = sys::close(std::exchange(fd_, kNone));
    FIBRIO_DCHECK(result != -EBADF, "somebody else closed an fd that this object owns");
    return result;
  }
  [[nodiscard]] int take_fd() noexcept { return std::exchange(fd_, kNone); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool is_open() const noexcept { return fd_ != kNone; }
  explicit operator bool() const noexcept { return is_open(); }

 private:
  static constexpr int kNone = -1;
  int fd_ = kNone;
};

}  // namespace fibrio::sys
