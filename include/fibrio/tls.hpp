// TLS 1.2 and 1.3 over any ByteStream, by OpenSSL 3. The optional component fibrio::tls.
//
//   const auto context = fibrio::tls::Context::client();             // the system's authorities, names checked
//   const auto stream = fibrio::tls::connect("example.org", 443, context);
//   stream->write_all(request);
//
//   const auto secrets = fibrio::tls::Context::server({.certificates = fibrio::tls::Pem::file("chain.pem"),
//                                                      .key = fibrio::tls::Pem::file("key.pem")});
//   const auto stream = fibrio::tls::accept(fibrio::make_byte_stream(listener.accept()), secrets);
//
// A peer's certificate is verified, and its name compared, unless the program says otherwise. There is no
// renegotiation and no compression. As a TLS stream is a ByteStream itself, TLS runs inside TLS.
// Errors of TLS are tls::Error, which is a std::system_error; those of the transport come through as they are.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "fibrio/byte_stream.hpp"
#include "fibrio/clock.hpp"
#include "fibrio/sockets.hpp"
#include "fibrio/streams.hpp"

namespace fibrio::tls {

class ContextImpl;
class Connection;

// The category of tls::Error: OpenSSL's codes, library and reason, as ERR_get_error(3) packs them.
[[nodiscard]] const std::error_category& error_category() noexcept;

// What TLS or OpenSSL objects to; the text has OpenSSL's. asyncio: ssl.SSLError.
class Error : public std::system_error {
 public:
  Error(int code, const std::string& what) : std::system_error(code, error_category(), what) {}
};

// The peer's certificate was not accepted: authority, dates, name. asyncio: ssl.SSLCertVerificationError.
class VerificationError : public Error {
 public:
  VerificationError(int code, int verify_code, const std::string& what)
      : Error(code, what), verify_code_(verify_code) {}
  // X509_V_ERR_..., see X509_verify_cert_error_string(3).
  [[nodiscard]] int verify_code() const noexcept { return verify_code_; }

 private:
  int verify_code_;
};

// The stream ended without TLS's word for the end: data may be missing. asyncio: ssl.SSLEOFError.
class TruncatedError : public Error {
 public:
  using Error::Error;
};

// A certificate, several of them, or a key in PEM form: a file, or the text itself. Read when a Context is made.
class Pem {
 public:
  Pem() = default;  // nothing
  [[nodiscard]] static Pem file(std::string path) { return {std::move(path), {}}; }
  [[nodiscard]] static Pem text(std::string pem) { return {{}, std::move(pem)}; }
  [[nodiscard]] bool empty() const noexcept { return path_.empty() && text_.empty(); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }  // empty: it is the text
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  Pem(std::string path, std::string text) : path_(std::move(path)), text_(std::move(text)) {}
  std::string path_;
  std::string text_;
};

enum class Version { kTls12, kTls13 };

// Whether a server asks its clients for a certificate: not at all; taken and verified if there is one;
// refused without one. asyncio: ssl.CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED.
enum class ClientCertificate { kNone, kOptional, kRequired };

struct ClientOptions {
  Pem authorities = {};           // whom to trust; empty: the system's
  bool system_too = false;        // `authorities` in addition to the system's
  bool verify = true;             // false: any certificate and any name will do, and so will any attacker
  bool check_hostname = true;     // false: any name will do
  Pem certificates = {};          // our own, if servers ask for one, then those between it and the authority
  Pem key = {};                   // of our certificate; empty: it is in `certificates`
  std::string key_password = {};  // if the key is encrypted
  std::vector<std::string> alpn = {};  // application protocols ("h2", "http/1.1"), best first
  std::size_t kept_sessions = 256;     // of how many peers the latest one is kept; 0: always full handshakes
  Version min_version = Version::kTls12;
  Version max_version = Version::kTls13;
  // Of TLS 1.2, as in openssl-ciphers(1); empty: AES-GCM and ChaCha20 with ECDHE, all others (CBC, static RSA,
  // DHE) are off.
  std::string ciphers = {};
  std::string cipher_suites = {};  // of TLS 1.3; empty: OpenSSL's
  std::string groups = {};         // for the key exchange; empty: "X25519:P-256:P-384"
};

struct ServerOptions {
  Pem certificates = {};  // as above; these are needed
  Pem key = {};
  std::string key_password = {};
  ClientCertificate client_certificates = ClientCertificate::kNone;
  Pem authorities = {};                // of clients; needed unless kNone
  std::vector<std::string> alpn = {};  // application protocols, best first
  bool require_alpn = false;  // refuse clients that offer protocols, but none of ours; false: agree on none
  bool tickets = true;        // clients may resume sessions; the keys change every hour
  Version min_version = Version::kTls12;
  Version max_version = Version::kTls13;
  std::string ciphers = {};  // these three as above
  std::string cipher_suites = {};
  std::string groups = {};
};

// A side's settings, certificates and keys. A cheap handle to what cannot be changed any more: any number of
// streams of any loops share it.
class Context {
 public:
  // Throws: tls::Error naming the setting or the file that OpenSSL refuses; std::system_error for a file that
  // cannot be read; std::invalid_argument. Waits: no, but it reads files. Threads: any.
  // asyncio: ssl.create_default_context, with the same checks.
  [[nodiscard]] static Context client(const ClientOptions& options = {});
  [[nodiscard]] static Context server(const ServerOptions& options);
  // The server's context by the name that a client asks for (SNI): "example.org", or "*.example.org" for
  // names with one more label. `fallback` is for all other names, and for clients that ask for none.
  // Of the fallback are also, whatever the name, the cipher suites of TLS 1.3 and the groups.
  // Throws: std::invalid_argument if one of them is a client's.
  [[nodiscard]] static Context by_name(const Context& fallback, const std::map<std::string, Context>& names);

  [[nodiscard]] bool is_server() const noexcept;

 private:
  friend class Connection;
  friend class ContextImpl;
  explicit Context(std::shared_ptr<ContextImpl> impl) noexcept : impl_(std::move(impl)) {}
  std::shared_ptr<ContextImpl> impl_;
};

struct HandshakeOptions {
  AnyDuration handshake_timeout = std::chrono::seconds(60);  // above 0
  AnyDuration shutdown_timeout = std::chrono::seconds(30);   // above 0
  // An end of the stream without TLS's word for it counts as an end, not as TruncatedError. asyncio: ssl's
  // suppress_ragged_eofs.
  bool suppress_ragged_eofs = false;
};

struct ConnectOptions {
  HandshakeOptions handshake = {};
  std::optional<std::string> server_hostname = {};  // another name than `host` to ask for and to check
};

// A TLS connection. One task may read while another one writes. Keys are updated as the peer asks for it.
// Writes are encrypted in pieces of up to 64 KiB, and what the transport does not take at once is sent by a
// task of its own: a write that was taken goes out whether or not somebody is cancelled.
class Stream final : public ByteStream {
 public:
  explicit Stream(std::shared_ptr<Connection> connection) noexcept;
  ~Stream() override;  // close()

  // Throws also: TruncatedError; tls::Error, for instance for the alert by which a peer refuses our
  // certificate: with TLS 1.3 that comes after the handshake.
  std::size_t read_some(std::span<std::byte> buffer) override;
  // Takes in what TLS has for itself (tickets, key updates). Nothing also while a task waits in a read.
  std::optional<std::size_t> try_read_some(std::span<std::byte> buffer) override;
  [[nodiscard]] bool has_buffered_input() const override;
  std::size_t write_some(std::span<const std::byte> data) override;
  // Writes nothing outside of a task or callback of a loop.
  std::size_t try_write_some(std::span<const std::byte> data) override;
  void write_all(std::span<const std::byte> data) override;
  void write_all(std::span<const std::byte> first, std::span<const std::byte> second) override;

  [[nodiscard]] bool can_shutdown_write() const noexcept override { return false; }
  void shutdown_write() override;  // throws ENOTSUP
  void end_output() override;
  [[nodiscard]] bool has_unsent() const noexcept override;
  [[nodiscard]] Duration close_limit() const noexcept override;  // shutdown_timeout
  // Says that we end (close_notify), waits for the peer's word, dropping what it still sends, and closes.
  // Waits: for shutdown_timeout at most. Cancel: CancelledError; the stream is closed with a reset.
  // Throws: TimeoutError, and the stream is closed with a reset; std::system_error. asyncio: what a TLS
  // transport does after close().
  void shutdown();
  // Sends what was written and our close_notify and closes the transport: in the background, by a task of its own,
  // for shutdown_timeout at most, if it does not all go at once. A client's also waits there for the server's
  // close_notify, or 64 KiB of what it sends instead, so that no unread ticket turns the close into a reset.
  // Outside of a loop, and if a task waits in a read or a write, the transport is closed at once.
  void close() noexcept override;
  void abort() noexcept override;
  [[nodiscard]] bool is_open() const noexcept override;

  [[nodiscard]] int native_handle() const noexcept override;
  [[nodiscard]] Address local_address() const override;
  [[nodiscard]] Address peer_address() const override;

  // What was agreed on. Also of a closed stream. Waits: no. Threads: any.
  [[nodiscard]] const std::string& version() const noexcept;      // "TLSv1.3"
  [[nodiscard]] const std::string& cipher() const noexcept;       // "TLS_AES_256_GCM_SHA384"
  [[nodiscard]] const std::string& alpn() const noexcept;         // empty: none
  [[nodiscard]] const std::string& server_name() const noexcept;  // asked for by SNI; empty: none
  [[nodiscard]] bool session_resumed() const noexcept;
  [[nodiscard]] std::string peer_certificate() const;  // PEM; empty: none
  [[nodiscard]] std::string peer_subject() const;      // "CN=example.org,O=Example"; empty: none

 private:
  std::shared_ptr<Connection> connection_;
};

// Connects to `host`, and does the handshake. Waits: yes. Cancel: CancelledError; nothing is left open.
// Throws: as TcpStream::connect and handshake.
//   auto stream = fibrio::tls::connect("example.org", 443, fibrio::tls::Context::client());
[[nodiscard]] std::unique_ptr<Stream> connect(const std::string& host, std::uint16_t port,
                                              const Context& context, const ConnectOptions& options = {},
                                              const fibrio::ConnectOptions& tcp = {});

// Does the client's handshake on a connected stream, which is closed if it fails. The peer's certificate must be
// for `server_hostname`, a name or an IP address. `received` is what was read from the transport already, and is
// TLS's. Waits: yes. Cancel: CancelledError.
// Throws: VerificationError; tls::Error; TimeoutError (asyncio: ConnectionAbortedError); std::system_error, with
// ECONNRESET if the peer ends the connection; std::invalid_argument for a server's context, a timeout that is
// not above 0, an impossible name, and for an empty one unless the context checks none.
[[nodiscard]] std::unique_ptr<Stream> handshake(std::unique_ptr<ByteStream> transport, const Context& context,
                                                const std::string& server_hostname,
                                                const HandshakeOptions& options = {},
                                                std::span<const std::byte> received = {});

// The server's handshake. The rest as handshake.
[[nodiscard]] std::unique_ptr<Stream> accept(std::unique_ptr<ByteStream> transport, const Context& context,
                                             const HandshakeOptions& options = {},
                                             std::span<const std::byte> received = {});

// --- streams with buffers ----------------------------------------------------------------------------------

// Goes over to TLS in the middle of a connection, as the context says as client or server: what was written is
// sent before, what was read ahead belongs to TLS. Reader and writer stay what they are; the TLS stream is
// writer.stream(). Waits: yes. Cancel: CancelledError, the connection is lost. Throws: as handshake, and then the
// connection is lost; RuntimeError if a task is reading, or the writer is closing. asyncio: StreamWriter.start_tls.
//   reader.readline();  // "220 ready"
//   fibrio::tls::start_tls(writer, context, "mail.example.org");
void start_tls(StreamWriter& writer, const Context& context, const std::string& server_hostname = {},
               const HandshakeOptions& options = {});

// The handshake as fibrio::ServerOptions::upgrade and StreamWriter::replace_stream take it: TLS for servers of every
// kind. Throws: std::invalid_argument for a timeout that is not above 0.
//   auto server = fibrio::start_unix_server(serve, path, {.upgrade = fibrio::tls::upgrade(context)});
[[nodiscard]] StreamUpgrade upgrade(const Context& context, const std::string& server_hostname = {},
                                    const HandshakeOptions& options = {});

// As fibrio::open_connection, with a TLS client's handshake. asyncio: open_connection(ssl=context).
[[nodiscard]] Streams open_connection(const std::string& host, std::uint16_t port, const Context& context,
                                      const ConnectOptions& options = {},
                                      const fibrio::ConnectOptions& tcp = {},
                                      std::size_t limit = kStreamLimit);

// As fibrio::start_server; each connection begins with a server's handshake, in its own task. One that fails ends
// the connection, and nobody is told, but the exception handler in debug mode. Throws also: std::invalid_argument
// for a client's context, for a timeout that is not above 0, and if `options` has an upgrade already.
// asyncio: start_server(ssl=context).
[[nodiscard]] Server start_server(ConnectionHandler handler, const std::string& host, std::uint16_t port,
                                  const Context& context, fibrio::ServerOptions options = {},
                                  const HandshakeOptions& handshake = {});

}  // namespace fibrio::tls
