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

constexpr std::size_t kBuffer = 1024;  // no header is longer here

// What the tasks of a worker share, as nobody waits while he uses it.
struct Scratch {
  std::string answer;  // of this second, made anew by whoever needs it first
  std::time_t answer_time = 0;
  std::string output;
};
thread_local Scratch scratch_of_worker;

void make_answer(Scratch& scratch, std::time_t second) {
  scratch.answer_time = second;
  std::tm parts{};
  ::gmtime_r(&second, &parts);
  char date[64];
  std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  scratch.answer = "HTTP/1.1 200 OK\r\nDate: " + std::string(date) +
                   "\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
}

struct Answered {
  std::size_t bytes;   // of the input
  std::string unsent;  // what did not fit into the send buffer
};

// Answers the requests that are whole. Does not wait; a function of its own, as the address of a thread-local must not be
// kept over a wait, after which the task may be on another worker.
[[gnu::noinline]] Answered answer_all(fibrio::TcpStream& stream, std::string_view input) {
  Scratch& scratch = scratch_of_worker;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != scratch.answer_time) make_answer(scratch, now.tv_sec);
  std::string_view rest = input;
  scratch.output.clear();
  for (std::size_t end = 0; (end = rest.find("\r\n\r\n")) != std::string_view::npos;) {
    scratch.output += scratch.answer;
    rest.remove_prefix(end + 4);
  }
  const std::size_t sent = stream.try_write_some(std::as_bytes(std::span(scratch.output)));
  return {input.size() - rest.size(), scratch.output.substr(sent)};
}

void converse(fibrio::TcpStream stream) {
  std::array<char, kBuffer> input;
  std::size_t used = 0;
  try {
    while (used < input.size()) {
      const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(input).subspan(used)));
      if (count == 0) return;
      used += count;
      const Answered answered = answer_all(stream, {input.data(), used});
      used -= answered.bytes;
      if (used != 0) std::memmove(input.data(), input.data() + answered.bytes, used);
      if (!answered.unsent.empty()) stream.write_all(answered.unsent);
    }
  } catch (const std::system_error&) {  // the client is gone
  }
}

}  // namespace

int main(int argc, char** argv) { bench::serve_forever("server_http", argc, argv, converse); }
