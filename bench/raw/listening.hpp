// What: the outside of a server that is bare epoll loops: its arguments, a listener and a thread per worker.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "../arguments.hpp"

namespace raw {

constexpr int kEvents = 512;  // of one epoll_wait

[[noreturn]] inline void fail(const char* call) {
  std::perror(call);
  std::exit(1);
}

// On 127.0.0.1, non-blocking, with SO_REUSEPORT; for port 0 the system chooses one.
inline int listen_on(int& port) {
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

// The next connection, non-blocking, with TCP_NODELAY; negative if there is none.
inline int accept_next(int listener) {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
  const int on = 1;
  if (fd >= 0) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// The program `name`: calls `run`, which does not return, with a listener of its own in each worker's thread.
inline void serve_forever(const std::string& name, int argc, char** argv, void (*run)(int listener)) {
  int port = 0;
  int threads = 1;
  const std::string usage = name + " [--port P] [--workers N]";
  bench::Arguments arguments(argc, argv, usage.c_str());
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
  for (int i = 1; i < threads; ++i) others.emplace_back(run, listeners[static_cast<std::size_t>(i)]);
  run(listeners[0]);
}

}  // namespace raw
