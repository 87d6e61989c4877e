// What: the public functions of fibrio::tls.
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tls/connection.hpp"

namespace fibrio::tls {
namespace {

void check(const HandshakeOptions& options) {
  if (options.handshake_timeout <= Duration::zero()) {
    throw std::invalid_argument("handshake_timeout must be above 0");
  }
  if (options.shutdown_timeout <= Duration::zero()) {
    throw std::invalid_argument("shutdown_timeout must be above 0");
  }
}

std::unique_ptr<Stream> start(std::unique_ptr<ByteStream> transport, const Context& context,
                              const std::string& server_hostname, const HandshakeOptions& options,
                              std::span<const std::byte> received) {
  check(options);
  if (transport == nullptr) throw std::invalid_argument("TLS needs a transport");
  auto connection =
      std::make_shared<Connection>(std::move(transport), context, server_hostname, options, received);
  connection->handshake();
  return std::make_unique<Stream>(std::move(connection));
}

}  // namespace

Stream::Stream(std::shared_ptr<Connection> connection) noexcept : connection_(std::move(connection)) {}
Stream::~Stream() { connection_->close(); }

std::size_t Stream::read_some(std::span<std::byte> buffer) { return connection_->read_some(buffer); }
std::optional<std::size_t> Stream::try_read_some(std::span<std::byte> buffer) {
  return connection_->try_read_some(buffer);
}
bool Stream::has_buffered_input() const { return connection_->has_buffered_input(); }
std::size_t Stream::write_some(std::span<const std::byte> data) { return connection_->write_some(data); }
std::size_t Stream::try_write_some(std::span<const std::byte> data) {
  return connection_->try_write_some(data);
}
void Stream::write_all(std::span<const std::byte> data) { connection_->write_all(data, {}); }
void Stream::write_all(std::span<const std::byte> first, std::span<const std::byte> second) {
  connection_->write_all(first, second);
}

void Stream::shutdown_write() {
  throw std::system_error(ENOTSUP, std::system_category(), "TLS cannot end one direction alone");
}
void Stream::shutdown() { connection_->shutdown(); }
void Stream::end_output() { connection_->end_output(); }
bool Stream::has_unsent() const noexcept { return connection_->has_unsent(); }
Duration Stream::close_limit() const noexcept { return connection_->close_limit(); }
void Stream::close() noexcept { connection_->close(); }
void Stream::abort() noexcept { connection_->abort(); }
bool Stream::is_open() const noexcept { return connection_->is_open(); }

int Stream::native_handle() const noexcept {
  return connection_->is_open() ? connection_->transport().native_handle() : -1;
}
Address Stream::local_address() const { return connection_->transport().local_address(); }
Address Stream::peer_address() const { return connection_->transport().peer_address(); }

const std::string& Stream::version() const noexcept { return connection_->agreement().version; }
const std::string& Stream::cipher() const noexcept { return connection_->agreement().cipher; }
const std::string& Stream::alpn() const noexcept { return connection_->agreement().alpn; }
const std::string& Stream::server_name() const noexcept { return connection_->agreement().server_name; }
bool Stream::session_resumed() const noexcept { return connection_->agreement().resumed; }

std::string Stream::peer_certificate() const {
  const CertificateHandle certificate = connection_->peer_certificate();
  return certificate == nullptr ? std::string() : pem_of(*certificate);
}
std::string Stream::peer_subject() const {
  const CertificateHandle certificate = connection_->peer_certificate();
  return certificate == nullptr ? std::string() : subject_of(*certificate);
}

std::unique_ptr<Stream> connect(const std::string& host, std::uint16_t port, const Context& context,
                                const ConnectOptions& options, const fibrio::ConnectOptions& tcp) {
  check(options.handshake);
  return handshake(make_byte_stream(TcpStream::connect(host, port, tcp)), context,
                   options.server_hostname.value_or(host), options.handshake);
}

std::unique_ptr<Stream> handshake(std::unique_ptr<ByteStream> transport, const Context& context,
                                  const std::string& server_hostname, const HandshakeOptions& options,
                                  std::span<const std::byte> received) {
  if (context.is_server()) throw std::invalid_argument("a client's handshake needs a client's context");
  return start(std::move(transport), context, server_hostname, options, received);
}

std::unique_ptr<Stream> accept(std::unique_ptr<ByteStream> transport, const Context& context,
                               const HandshakeOptions& options, std::span<const std::byte> received) {
  if (!context.is_server()) throw std::invalid_argument("a server's handshake needs a server's context");
  return start(std::move(transport), context, {}, options, received);
}

// --- streams with buffers ----------------------------------------------------------------------------------

StreamUpgrade upgrade(const Context& context, const std::string& server_hostname,
                      const HandshakeOptions& options) {
  check(options);
  return
      [=](std::unique_ptr<ByteStream> stream, const std::string& read_ahead) -> std::unique_ptr<ByteStream> {
        return start(std::move(stream), context, server_hostname, options,
                     std::as_bytes(std::span(read_ahead.data(), read_ahead.size())));
      };
}

void start_tls(StreamWriter& writer, const Context& context, const std::string& server_hostname,
               const HandshakeOptions& options) {
  writer.replace_stream(upgrade(context, server_hostname, options));
}

Streams open_connection(const std::string& host, std::uint16_t port, const Context& context,
                        const ConnectOptions& options, const fibrio::ConnectOptions& tcp, std::size_t limit) {
  return make_streams(connect(host, port, context, options, tcp), limit);
}

Server start_server(ConnectionHandler handler, const std::string& host, std::uint16_t port,
                    const Context& context, fibrio::ServerOptions options,
                    const HandshakeOptions& handshake) {
  if (!context.is_server()) throw std::invalid_argument("a TLS server needs a server's context");
  if (options.upgrade)
    throw std::invalid_argument("a TLS server's connections have their upgrade: the handshake");
  options.upgrade = upgrade(context, {}, handshake);
  return fibrio::start_server(std::move(handler), host, port, std::move(options));
}

}  // namespace fibrio::tls
