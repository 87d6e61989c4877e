// What: what the tests of a client's ends share: a server of raw bytes, plain or over TLS, and a stream that
//   forwards to another one and knows nothing of the newer questions of ByteStream.
// Threads: inside tasks.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "fibrio/http/session.hpp"
#include "support/tls.hpp"

namespace http_test {

using namespace fibrio;            // NOLINT
using namespace fibrio::tls_test;  // NOLINT

using AnyStream = std::unique_ptr<ByteStream>;

class Forwarding : public ByteStream {
 public:
  explicit Forwarding(AnyStream stream) : stream_(std::move(stream)) {}
  std::size_t read_some(std::span<std::byte> buffer) override { return stream_->read_some(buffer); }
  std::size_t write_some(std::span<const std::byte> data) override { return stream_->write_some(data); }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    return stream_->try_write_some(data);
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return stream_->can_shutdown_write(); }
  void shutdown_write() override { stream_->shutdown_write(); }
  void close() noexcept override { stream_->close(); }
  void abort() noexcept override { stream_->abort(); }
  [[nodiscard]] bool is_open() const noexcept override { return stream_->is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return stream_->native_handle(); }
  [[nodiscard]] Address peer_address() const override { return stream_->peer_address(); }

 private:
  AnyStream stream_;
};

inline std::string ok(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
// A request's header, and what came with it; empty at the end of the stream.
inline std::string read_header(ByteStream& stream) {
  std::string text;
  while (text.find("\r\n\r\n") == std::string::npos) {
    const std::string part = read_once(stream);
    if (part.empty()) return {};
    text += part;
  }
  return text;
}

// Calls `serve(stream, number)` for each connection, one task each; what it throws of the system is forgotten.
class Peer {
 public:
  using Serve = std::function<void(ByteStream&, int)>;
  explicit Peer(
      Serve serve, std::function<AnyStream(TcpStream)> open =
                       [](TcpStream stream) { return make_byte_stream(std::move(stream)); })
      : listener_(TcpListener::bind(loopback())), serve_(std::move(serve)), open_(std::move(open)) {
    accepting_ = create_task([this] {
      task_group([this](TaskGroup& group) {
        for (;;) group.create_task([this, stream = listener_.accept()]() mutable { run(std::move(stream)); });
      });
    });
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() {
    const CancelMask mask;
    accepting_.cancel();
    accepting_.wait();
  }
  [[nodiscard]] std::string url(const std::string& scheme = "http") const {
    return scheme + "://127.0.0.1:" + std::to_string(listener_.local_address().port()) + "/";
  }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void run(TcpStream stream) {
    const int number = connections_++;
    try {
      const AnyStream opened = open_(std::move(stream));
      serve_(*opened, number);
    } catch (const std::system_error&) {
    }
  }

  TcpListener listener_;
  Serve serve_;
  std::function<AnyStream(TcpStream)> open_;
  std::atomic<int> connections_{0};
  Task<> accepting_;
};

inline AnyStream accept_tls(TcpStream stream) {
  static const tls::Context context = tls::Context::server(server_options());
  return tls::accept(make_byte_stream(std::move(stream)), context);
}
inline AnyStream connect_tls(TcpStream stream, const http::Url& url) {
  static const tls::Context context = tls::Context::client(client_options());
  return tls::handshake(make_byte_stream(std::move(stream)), context, url.host());
}

}  // namespace http_test
