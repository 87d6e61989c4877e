// Question: what does "Hello, world" over HTTP/1.1 cost with nothing in between? The yardstick for
// examples/http_server: the same answer, byte for byte but the time, from a bare epoll loop, with keep-alive
// and pipelining, a thread per worker, each with its own SO_REUSEPORT listener. It is no server to use:
// it looks for the empty line that ends a header and believes everything else.
//
//   epoll_http [--port P] [--workers N]     prints "listening on 127.0.0.1:P"
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "listening.hpp"

namespace {

constexpr std::size_t kBuffer = 1024;  // no header is longer here

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
    std::vector<epoll_event> events(raw::kEvents);
    for (;;) {
      const int count = ::epoll_wait(epoll_, events.data(), raw::kEvents, -1);
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
    for (int fd = 0; (fd = raw::accept_next(listener_)) >= 0;) {
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
  raw::serve_forever("epoll_http", argc, argv, [](int listener) { Loop(listener).run(); });
}
