// Question: what does "Hello, world" over HTTP/1.1 cost with nothing in between? The yardstick for
// examples/http_server: the same answer, byte for byte but the time, from a bare epoll loop, with keep-alive
// and pipelining, a thread per worker, each with its own SO_REUSEPORT listener. It is no server to use:
// it looks for the empty line that ends a header and believes everything else.
//
//   epoll_http [--port P] [--workers N]     prints "listening on 127.0.0.1:P"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../arguments.hpp"

namespace {

constexpr std::size_t kBuffer = 4096;  // no header is longer here
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

struct Connection {
  int fd;
  std::size_t used = 0;  // bytes of an incomplete request in `input`
  std::string unsent;
  char input[kBuffer];
};

class Loop {
 public:
  explicit Loop(int listener) : listener_(listener), epoll_(::epoll_create1(0)) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
  }

  void run() {
    std::vector<epoll_event> events(kEvents);
    for (;;) {
      const int count = ::epoll_wait(epoll_, events.data(), kEvents, -1);
      refresh_answer();
      for (int i = 0; i < count; ++i) {
        auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (connection == nullptr) {
          accept_all();
        } else if (!serve(*connection)) {
          ::close(connection->fd);
          delete connection;
        }
      }
    }
  }

 private:
  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK);
      if (fd < 0) return;
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      watch(*new Connection{fd, 0, {}, {}}, EPOLLIN, EPOLL_CTL_ADD);
    }
  }

  void watch(Connection& connection, std::uint32_t what, int operation) {
    epoll_event event{};
    event.events = what;
    event.data.ptr = &connection;
    ::epoll_ctl(epoll_, operation, connection.fd, &event);
  }

  // The Date is made anew each second, as in the server we compare with.
  void refresh_answer() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == answer_time_) return;
    answer_time_ = now.tv_sec;
    std::tm parts{};
    ::gmtime_r(&now.tv_sec, &parts);
    char date[64];
    std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    answer_ = "HTTP/1.1 200 OK\r\nDate: " + std::string(date) +
              "\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
  }

  // False: the connection is over.
  bool serve(Connection& connection) {
    if (!connection.unsent.empty()) {
      if (!send_all(connection, connection.unsent)) return false;
      if (!connection.unsent.empty()) return true;
      watch(connection, EPOLLIN, EPOLL_CTL_MOD);
    }
    const ssize_t count =
        ::recv(connection.fd, connection.input + connection.used, kBuffer - connection.used, 0);
    if (count == 0 || (count < 0 && errno != EAGAIN)) return false;
    if (count < 0) return true;
    connection.used += static_cast<std::size_t>(count);

    std::string_view rest(connection.input, connection.used);
    output_.clear();
    for (std::size_t end = 0; (end = rest.find("\r\n\r\n")) != std::string_view::npos;) {
      output_ += answer_;
      rest.remove_prefix(end + 4);
    }
    if (rest.size() == kBuffer) return false;
    if (rest.size() != connection.used) std::memmove(connection.input, rest.data(), rest.size());
    connection.used = rest.size();
    if (output_.empty()) return true;
    if (!send_all(connection, output_)) return false;
    if (!connection.unsent.empty()) watch(connection, EPOLLOUT, EPOLL_CTL_MOD);
    return true;
  }

  // What does not fit into the send buffer stays in `unsent`.
  static bool send_all(Connection& connection, const std::string& bytes) {
    const ssize_t count = ::send(connection.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) return false;
    const std::size_t sent = count < 0 ? 0 : static_cast<std::size_t>(count);
    if (sent < bytes.size() || !connection.unsent.empty()) connection.unsent = bytes.substr(sent);
    return true;
  }

  int listener_;
  int epoll_;
  std::string answer_;
  std::string output_;
  time_t answer_time_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  int port = 0;
  int threads = 1;
  bench::Arguments arguments(argc, argv, "epoll_http [--port P] [--workers N]");
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
    others.emplace_back([fd = listeners[static_cast<std::size_t>(i)]] { Loop(fd).run(); });
  }
  Loop(listeners[0]).run();
}
