// Question: what does fibrio add to "Hello, world" over HTTP/1.1, parsing by hand? (performance question W9;
// the yardstick is raw/epoll_http.cpp, which gives the same answer, and compare/network.py runs them side by
// side with the peers. What a real server costs is measured with examples/http_server.) One task per
// connection; keep-alive and pipelining. It is no server to use: it looks for the empty line that ends a
// header and believes everything else.
//
//   server_http [--port P] [--workers N]     prints "listening on 127.0.0.1:P"
#include <array>
#include <cstring>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "fibrio/fibrio.hpp"
#include "listening.hpp"

namespace {

// The answer of this second, made anew by whoever needs it first. Its task's own: no lock.
class Answer {
 public:
  const std::string& now() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != time_) make(now.tv_sec);
    return text_;
  }

 private:
  void make(time_t second) {
    time_ = second;
    std::tm parts{};
    ::gmtime_r(&second, &parts);
    char date[64];
    std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    text_ = "HTTP/1.1 200 OK\r\nDate: " + std::string(date) +
            "\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
  }
  time_t time_ = 0;
  std::string text_;
};

void converse(fibrio::TcpStream stream) {
  std::array<char, 4096> input;  // no header is longer here
  std::size_t used = 0;
  Answer answer;
  std::string output;
  try {
    while (used < input.size()) {
      const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(input).subspan(used)));
      if (count == 0) return;
      used += count;
      std::string_view rest(input.data(), used);
      output.clear();
      for (std::size_t end = 0; (end = rest.find("\r\n\r\n")) != std::string_view::npos;) {
        output += answer.now();
        rest.remove_prefix(end + 4);
      }
      std::memmove(input.data(), rest.data(), rest.size());
      used = rest.size();
      stream.write_all(output);
    }
  } catch (const std::system_error&) {  // the client is gone
  }
}

}  // namespace

int main(int argc, char** argv) { bench::serve_forever("server_http", argc, argv, converse); }
