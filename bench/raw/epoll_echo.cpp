// Question: what does a 64-byte echo over TCP cost with nothing in between? The yardstick for every echo
// server here (performance questions W8 and W15): a bare epoll loop per thread, each with its own
// SO_REUSEPORT listener. It sends back whatever it gets; the first 4 bytes of a message (little endian) are a
// number of nanoseconds to compute for before the answer.
//
//   epoll_echo [--port P] [--workers N]     prints "listening on 127.0.0.1:P"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "../arguments.hpp"

namespace {

constexpr std::size_t kMessage = 64;
constexpr int kEvents = 512;

[[noreturn]] void fail(const char* call) {
  std::perror(call);
  std::exit(1);
}

int listen_on(int& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("bind");
  if (::listen(fd, 4096) != 0) fail("listen");
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}

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
  std::vector<epoll_event> events(kEvents);
  for (;;) {
    const int count = ::epoll_wait(epoll, events.data(), kEvents, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd != listener) {
        if (!echo(fd)) ::close(fd);
        continue;
      }
      for (int accepted = 0; (accepted = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
        const int on = 1;
        ::setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event.data.fd = accepted;
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, accepted, &event);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  int port = 0;
  int threads = 1;
  bench::Arguments arguments(argc, argv, "epoll_echo [--port P] [--workers N]");
  while (arguments.next()) {
    if (arguments.is("--port")) {
      port = arguments.value<int>(0, UINT16_MAX);
    } else if (arguments.is("--workers")) {
      threads = arguments.value<int>(1, 1024);
    } else {
      arguments.refuse_unknown();
    }
  }
  std::vector<int> listeners;
  for (int i = 0; i < threads; ++i) listeners.push_back(listen_on(port));
  std::printf("listening on 127.0.0.1:%d\n", port);
  std::fflush(stdout);
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) {
    others.emplace_back([fd = listeners[static_cast<std::size_t>(i)]] { run(fd); });
  }
  run(listeners[0]);
}
