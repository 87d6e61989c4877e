// What: a client of web_load: one connection after the other or one for all requests, plain or TLS 1.3, one GET under
// way at a time; never blocks. The connection is watched edge-triggered, both ways.
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "load.hpp"

namespace load {

// A connection per request has its cost in the handshake: in full, or with the session of the one before.
enum class Handshake { once, full, resumed };

struct WebTask {
  int port = 0;
  std::string request;
  std::string body;  // what each answer must have
  Handshake handshake = Handshake::once;
  SSL_CTX* tls = nullptr;  // none: plain HTTP
  int epoll = -1;
};

class WebClient {
 public:
  explicit WebClient(const WebTask& task) : task_(task) {}
  ~WebClient() {
    SSL_SESSION_free(session_);
    close();
  }
  WebClient(const WebClient&) = delete;
  WebClient& operator=(const WebClient&) = delete;

  void open() {
    since_ = Clock::now();
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    // Many source addresses: there are more connections than ports, and theirs stay taken for a minute.
    static unsigned turn = 0;
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % 128);
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw failed("bind");
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(task_.port));
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 && errno != EINPROGRESS) {
      throw failed("connect");
    }
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.ptr = this;
    if (::epoll_ctl(task_.epoll, EPOLL_CTL_ADD, fd_, &event) != 0) throw failed("epoll_ctl");
    step_ = Step::connecting;
  }

  void close() {
    SSL_free(ssl_);
    ssl_ = nullptr;
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

  // Goes on until it would block. Calls answered(latency) for each answer; another connection is opened, or another
  // request sent, by itself. Throws std::runtime_error: the server does not do as it should.
  template <class Answered>
  void advance(Answered answered) {
    if (step_ == Step::connecting && !connect()) return;
    if (step_ == Step::handshaking && !shake_hands()) return;
    while (step_ == Step::reading) {
      const std::size_t count = read();
      if (count == kLater) return;
      if (count == 0) throw std::runtime_error("the server ended the connection");
      if (!take(std::string_view(buffer().data(), count))) continue;
      answered(Clock::now() - since_);
      if (task_.handshake != Handshake::once) {
        step_ = Step::ending;
      } else {
        ask();
        return;  // an event will tell of the answer
      }
    }
    if (step_ == Step::ending) end();
  }

  bool has_answered = false;  // the user's

  // OpenSSL's, for the client's sessions.
  static int on_session(SSL* ssl, SSL_SESSION* session) {
    auto& self = *static_cast<WebClient*>(SSL_get_app_data(ssl));
    SSL_SESSION_free(self.session_);
    self.session_ = session;
    return 1;  // it is ours
  }

 private:
  enum class Step { connecting, handshaking, reading, ending };
  static constexpr std::size_t kLater = SIZE_MAX;  // it would block

  static std::runtime_error failed(const std::string& call) {
    std::string why = std::strerror(errno);
    if (const unsigned long error = ERR_get_error(); error != 0) why = ERR_error_string(error, nullptr);
    return std::runtime_error(call + ": " + why);
  }

  static std::vector<char>& buffer() {
    static std::vector<char> bytes(256 * 1024);
    return bytes;
  }

  bool connect() {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    errno = error;
    if (error != 0) throw failed("connect");
    sockaddr_in peer{};
    size = sizeof peer;
    if (::getpeername(fd_, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return false;  // not yet
    if (task_.tls == nullptr) {
      ask();
      return true;
    }
    ssl_ = SSL_new(task_.tls);
    if (ssl_ == nullptr || SSL_set_fd(ssl_, fd_) != 1) throw failed("SSL_new");
    SSL_set_app_data(ssl_, this);
    SSL_set_tlsext_host_name(ssl_, "localhost");
    has_session_ = task_.handshake == Handshake::resumed && is_second_;
    is_second_ = true;
    if (has_session_ && session_ == nullptr) throw std::runtime_error("the server gave no ticket");
    if (has_session_) SSL_set_session(ssl_, session_);
    step_ = Step::handshaking;
    return true;
  }

  bool shake_hands() {
    ERR_clear_error();
    if (const int done = SSL_connect(ssl_); done != 1) {
      if (would_block(done)) return false;
      throw failed("TLS handshake");
    }
    if (SSL_version(ssl_) != TLS1_3_VERSION) throw std::runtime_error("another version than TLS 1.3");
    if ((SSL_session_reused(ssl_) == 1) != has_session_) {
      throw std::runtime_error(has_session_ ? "the session was not resumed" : "a session out of nothing");
    }
    ask();
    return true;
  }

  [[nodiscard]] bool would_block(int result) const {
    const int kind = SSL_get_error(ssl_, result);
    return kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE;
  }

  // The request is short: there is always room for it.
  void ask() {
    step_ = Step::reading;
    if (task_.handshake == Handshake::once) since_ = Clock::now();
    head_.clear();
    is_body_ = false;
    received_ = 0;
    ERR_clear_error();
    const auto size = task_.request.size();
    const auto sent =
        ssl_ != nullptr ? static_cast<ssize_t>(SSL_write(ssl_, task_.request.data(), static_cast<int>(size)))
                        : ::send(fd_, task_.request.data(), size, MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(size)) throw failed("send");
  }

  // 0: the end.
  std::size_t read() {
    if (ssl_ == nullptr) {
      const ssize_t count = ::recv(fd_, buffer().data(), buffer().size(), 0);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno == EAGAIN) return kLater;
      throw failed("recv");
    }
    ERR_clear_error();
    const int count = SSL_read(ssl_, buffer().data(), static_cast<int>(buffer().size()));
    if (count > 0) return static_cast<std::size_t>(count);
    if (would_block(count)) return kLater;
    if (SSL_get_error(ssl_, count) == SSL_ERROR_ZERO_RETURN) return 0;
    throw failed("TLS read");
  }

  // Takes a part of the answer. True: it is complete, and as it should be.
  bool take(std::string_view part) {
    if (!is_body_) {
      head_ += part;
      const std::size_t end = head_.find("\r\n\r\n");
      if (end == std::string::npos) {
        if (head_.size() > 4096) throw std::runtime_error("an endless header");
        return false;
      }
      if (!head_.starts_with("HTTP/1.1 200 ")) {
        throw std::runtime_error("not a 200: " + head_.substr(0, head_.find('\r')));
      }
      is_body_ = true;
      part = std::string_view(head_).substr(end + 4);
    }
    if (part.size() > task_.body.size() - received_ ||
        std::memcmp(part.data(), task_.body.data() + received_, part.size()) != 0) {
      throw std::runtime_error("another body");
    }
    received_ += part.size();
    return received_ == task_.body.size();
  }

  // Waits for the server's end, and opens the next connection.
  void end() {
    for (;;) {
      const std::size_t count = read();
      if (count == kLater) return;
      if (count == 0) break;
      throw std::runtime_error("more than the answer");
    }
    if (ssl_ != nullptr) SSL_shutdown(ssl_);  // our word for the end; a session without it counts as broken
    close();
    open();
  }

  const WebTask& task_;
  Step step_ = Step::connecting;
  int fd_ = -1;
  SSL* ssl_ = nullptr;
  SSL_SESSION* session_ = nullptr;  // the latest
  bool is_second_ = false;          // or a later connection
  bool has_session_ = false;        // offers one in this handshake
  Clock::time_point since_;
  std::string head_;
  bool is_body_ = false;
  std::size_t received_ = 0;  // of the body
};

}  // namespace load
