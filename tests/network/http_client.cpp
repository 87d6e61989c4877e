#include "network/http_client.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>

#include "support/catch.hpp"
#include "support/process.hpp"

#ifndef FIBRIO_TEST_SLOWDOWN
#define FIBRIO_TEST_SLOWDOWN 1
#endif

namespace http_test {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

int left_ms(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return left.count() > 0 ? static_cast<int>(left.count()) : 0;
}

}  // namespace

std::chrono::milliseconds patience() { return 5000ms * FIBRIO_TEST_SLOWDOWN; }

std::optional<std::string> server_path() {
  if (const char* path = std::getenv("FIBRIO_HTTP_SERVER"); path != nullptr && ::access(path, X_OK) == 0)
    return path;
#ifdef FIBRIO_HTTP_SERVER_PATH
  if (::access(FIBRIO_HTTP_SERVER_PATH, X_OK) == 0) return FIBRIO_HTTP_SERVER_PATH;
#endif
  return std::nullopt;
}

bool have_server() {
  if (server_path()) return true;
  WARN("skipped: the example http_server is not built (FIBRIO_HTTP_SERVER names it)");
  return false;
}

ServerProcess::ServerProcess(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {server_path().value(), "--port", "0"});
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  output_ = ends[0];

  const Clock::time_point deadline = Clock::now() + patience();
  std::string line;
  while (line.find('\n') == std::string::npos) {
    pollfd ready{output_, POLLIN, 0};
    char piece[256];
    const ssize_t count =
        ::poll(&ready, 1, left_ms(deadline)) > 0 ? ::read(output_, piece, sizeof piece) : ssize_t{-1};
    if (count <= 0) throw std::runtime_error("the server does not start: '" + line + "'");
    line.append(piece, static_cast<std::size_t>(count));
  }
  // "fibrio http_server listening on http://127.0.0.1:8080 with ..."
  const std::size_t end = line.find(" with ");
  const std::size_t colon = line.rfind(':', end);
  if (end == std::string::npos || colon == std::string::npos) throw std::runtime_error("unexpected: " + line);
  port_ = std::stoi(line.substr(colon + 1, end - colon - 1));
}

ServerProcess::~ServerProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (output_ >= 0) ::close(output_);
}

void ServerProcess::send_signal(int signal) {
  // ThreadSanitizer puts a signal off until the fiber on which it came calls something that the tool intercepts:
  // one that has just answered and then sleeps for a minute handles it after that. Let the server sleep first.
  if (fibrio::test::kThreadSanitizer) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ::kill(pid_, signal);
}

int ServerProcess::wait_exit() {
  const int pidfd = fibrio::test::open_pidfd(pid_);
  pollfd end{pidfd, POLLIN, 0};
  const bool has_ended = ::poll(&end, 1, left_ms(Clock::now() + 3 * patience())) > 0;
  ::close(pidfd);
  if (!has_ended) return -1;
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Reply::field(std::string_view name) const {
  const std::size_t start = header.find("\r\n" + std::string(name) + ": ");
  if (start == std::string::npos) return {};
  const std::size_t value = start + name.size() + 4;
  return header.substr(value, header.find("\r\n", value) - value);
}

Client::Client(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd_);
    throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
  }
  const timeval limit{static_cast<time_t>(patience().count() / 1000), 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Client::~Client() {
  if (fd_ >= 0) ::close(fd_);
}

Client::Client(Client&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}

bool Client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

void Client::shutdown_write() { ::shutdown(fd_, SHUT_WR); }

void Client::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  ::close(std::exchange(fd_, -1));
}

bool Client::has_input_within(std::chrono::milliseconds time) {
  pollfd ready{fd_, POLLIN, 0};
  return !buffer_.empty() || ::poll(&ready, 1, static_cast<int>(time.count())) > 0;
}

bool Client::fill() {
  char piece[16 * 1024];
  errno = 0;  // the end of the stream sets none
  const ssize_t count = ::recv(fd_, piece, sizeof piece, 0);
  if (count > 0) buffer_.append(piece, static_cast<std::size_t>(count));
  return count > 0;
}

Reply Client::receive(bool head) {
  Reply reply;
  std::size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!fill()) return {};
  }
  reply.header = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  reply.status = std::stoi(reply.header.substr(9, 3));
  const std::string length = head ? "" : reply.field("Content-Length");
  const std::size_t size = length.empty() ? 0 : std::stoul(length);
  while (buffer_.size() < size) {
    if (!fill()) return {};
  }
  reply.body = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return reply;
}

Reply Client::ask(std::string_view request, bool head) {
  send(request);
  return receive(head);
}

std::optional<std::string> Client::receive_all() {
  while (fill()) {
  }
  if (errno == EAGAIN) return std::nullopt;
  return std::exchange(buffer_, {});
}

bool Client::is_closed_by_server() {
  if (!buffer_.empty()) return false;
  char byte = 0;
  const ssize_t count = ::recv(fd_, &byte, 1, 0);
  return count == 0 || (count < 0 && errno == ECONNRESET);
}

}  // namespace http_test
