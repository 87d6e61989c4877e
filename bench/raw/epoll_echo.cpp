// Question: what does a 64-byte echo over TCP cost with nothing in between? The yardstick for every echo
// server here (performance questions W8 and W15): a bare epoll loop per thread, each with its own
// SO_REUSEPORT listener. It sends back whatever it gets; the first 4 bytes of a message (little endian) are a
// number of nanoseconds to compute for before the answer.
//
//   epoll_echo [--port P] [--workers N]     prints "listening on 127.0.0.1:P"
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "listening.hpp"

namespace {

constexpr std::size_t kMessage = 64;

void burn(const char* message) {
  std::uint32_t nanoseconds = 0;
  std::memcpy(&nanoseconds, message, sizeof nanoseconds);
  if (nanoseconds == 0) return;
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(nanoseconds);
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Answers one read. False: the connection is over. The load generator has one message under way per
// connection, so that a send never finds the buffer full.
bool echo(int fd) {
  char message[4096];
  const ssize_t count = ::recv(fd, message, sizeof message, 0);
  if (count < 0) return errno == EAGAIN;
  if (count == 0) return false;
  if (count >= static_cast<ssize_t>(kMessage)) burn(message);
  return ::send(fd, message, static_cast<std::size_t>(count), MSG_NOSIGNAL) == count;
}

void run(int listener) {
  const int epoll = ::epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = listener;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  std::vector<epoll_event> events(raw::kEvents);
  for (;;) {
    const int count = ::epoll_wait(epoll, events.data(), raw::kEvents, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd != listener) {
        if (!echo(fd)) ::close(fd);
        continue;
      }
      for (int accepted = 0; (accepted = raw::accept_next(listener)) >= 0;) {
        event.data.fd = accepted;
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, accepted, &event);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) { raw::serve_forever("epoll_echo", argc, argv, run); }
