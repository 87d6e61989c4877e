// What: a server that does not answer.
#pragma once

#include <vector>

#include "support/net.hpp"

namespace fibrio::net_test {

// A listener whose queue is full: further connection requests get no answer.
class FullListener {
 public:
  FullListener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const Address any = loopback();
    expect(::bind(fd_, any.data(), any.size()) == 0 && ::listen(fd_, 0) == 0, "a raw listener");
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    expect(::getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &length) == 0, "its address");
    address_ = Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
    for (int i = 0; i < 4; ++i) {
      fillers_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      static_cast<void>(::connect(fillers_.back().fd(), address_.data(), address_.size()));
    }
  }
  ~FullListener() { ::close(fd_); }
  FullListener(const FullListener&) = delete;
  FullListener& operator=(const FullListener&) = delete;
  [[nodiscard]] const Address& address() const { return address_; }

 private:
  int fd_;
  Address address_;
  std::vector<RawPeer> fillers_;
};

}  // namespace fibrio::net_test
