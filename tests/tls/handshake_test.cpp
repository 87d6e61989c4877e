#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;

namespace {

// The server's outcome is of no interest: its peer has left.
template <class E>
std::string refused(const tls::ClientOptions& client, const tls::ServerOptions& server = server_options(),
                    const std::string& hostname = "localhost") {
  return error_text<E>([&] {
    return shake(connect_ends(), tls::Context::client(client), tls::Context::server(server),
                 {.server_hostname = hostname});
  });
}

// A peer that accepts a connection and does nothing more.
struct SilentPeer {
  TcpListener listener = TcpListener::bind(loopback());
  [[nodiscard]] std::unique_ptr<ByteStream> connect() const {
    return make_byte_stream(TcpStream::connect(listener.local_address()));
  }
};

}  // namespace

// asyncio: test_sslproto BaseStartTLS.test_create_connection_ssl_failed_certificate
// asyncio: test_ssl TestSSL.test_create_connection_ssl_failed_certificate
TEST_CASE("A certificate of an unknown authority, out of date, for another name or for itself is refused",
          "[tls]") {
  const Certificates& known = certificates();
  const Identity stranger = make_certificate({.subject = "stranger", .is_authority = true});
  const Identity unknown = make_certificate({.issuer = &stranger});
  const Identity expired = make_certificate({.issuer = &known.authority, .from_days = -9, .until_days = -2});
  const Identity future = make_certificate({.issuer = &known.authority, .from_days = 2});
  const Identity other = make_certificate({.names = "DNS:other.example", .issuer = &known.authority});
  const Identity self_signed = make_certificate({});
  on_loops([&] {
    const auto text = [](const Identity& identity, const std::string& hostname = "localhost") {
      return refused<tls::VerificationError>(client_options(), server_options(identity), hostname);
    };
    expect_contains(text(unknown), "TLS handshake with localhost: unable to get local issuer certificate");
    expect_contains(text(expired), "certificate has expired");
    expect_contains(text(future), "certificate is not yet valid");
    expect_contains(text(other), "hostname mismatch");
    expect_contains(text(self_signed), "self-signed certificate");
    expect_contains(text(known.server, "127.0.0.2"), "IP address mismatch");
    // The system's authorities have not signed ours either.
    expect_contains(refused<tls::VerificationError>({}), "unable to get local issuer certificate");
  });
}

TEST_CASE("Names are compared as certificates are meant: case, wildcards, addresses, the root's dot",
          "[tls]") {
  const Identity wild = make_certificate(
      {.names = "DNS:*.example.org,IP:127.0.0.1,IP:fe80::1", .issuer = &certificates().authority});
  on_loops([&] {
    const tls::Context client = tls::Context::client(client_options());
    const tls::Context server = tls::Context::server(server_options(wild));
    for (const char* name :
         {"a.example.org", "A.Example.ORG", "a.example.org.", "127.0.0.1", "fe80::1%eth0"}) {
      TlsPair pair = shake(connect_ends(), client, server, {.server_hostname = name});
      const std::string asked = pair.server->server_name();
      expect(asked.empty() == (name[0] == '1' || name[0] == 'f'), "addresses are not asked for: " + asked);
      expect(asked.empty() || asked.back() != '.', "a name without the root's dot");
    }
    for (const char* name : {"example.org", "a.b.example.org", "a.example.com"}) {
      expect_contains(refused<tls::VerificationError>(client_options(), server_options(wild), name),
                      "mismatch");
    }
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_ssl_server_hostname_errors
TEST_CASE("A name is needed to check one, and must be one", "[tls]") {
  on_loops([] {
    for (const std::string name : {"", ".", ".example.org", "ex ample",
                                   "b\xc3\xbc"
                                   "cher.example"}) {
      expect_contains(refused<std::invalid_argument>(client_options(), server_options(), name),
                      "server_hostname");
    }
    expect_contains(
        refused<std::invalid_argument>(client_options(), server_options(), std::string("a\0b", 3)),
        "server_hostname");
    tls::ClientOptions any_name = client_options();
    any_name.check_hostname = false;
    (void)shake(connect_ends(), tls::Context::client(any_name), tls::Context::server(server_options()),
                {.server_hostname = ""});
    // Verified, but not compared.
    (void)shake(connect_ends(), tls::Context::client(any_name), tls::Context::server(server_options()),
                {.server_hostname = "elsewhere.example"});
    tls::ClientOptions anybody;
    anybody.verify = false;
    (void)shake(connect_ends(), tls::Context::client(anybody), tls::Context::server(server_options()),
                {.server_hostname = ""});
  });
}

TEST_CASE("A self-signed certificate is accepted by who has it among its authorities", "[tls]") {
  const Identity own = make_certificate({});
  on_loops([&] {
    tls::ClientOptions client;
    client.authorities = tls::Pem::text(own.certificate);
    (void)shake(connect_ends(), tls::Context::client(client), tls::Context::server(server_options(own)));
  });
}

TEST_CASE("A chain with an intermediate authority is verified up to the root", "[tls]") {
  const Identity between =
      make_certificate({.subject = "between", .issuer = &certificates().authority, .is_authority = true});
  const Identity leaf = make_certificate({.issuer = &between});
  on_loops([&] {
    const Identity chain{leaf.certificate + between.certificate, leaf.key};
    (void)shake(connect_ends(), tls::Context::client(client_options()),
                tls::Context::server(server_options(chain)));
    expect_contains(refused<tls::VerificationError>(client_options(), server_options(leaf)),
                    "unable to get local issuer certificate");
  });
}

TEST_CASE("A server gets the client's certificate, and refuses clients without one if it needs one",
          "[tls]") {
  const Identity stranger = make_certificate({.subject = "stranger", .names = {}});
  on_loops([&] {
    tls::ServerOptions asking = server_options();
    asking.authorities = tls::Pem::text(certificates().authority.certificate);
    tls::ClientOptions with = client_options();
    with.certificates = tls::Pem::text(certificates().client.certificate);
    with.key = tls::Pem::text(certificates().client.key);
    tls::ClientOptions wrong = client_options();
    wrong.certificates = tls::Pem::text(stranger.certificate + stranger.key);
    for (const tls::Version version : {tls::Version::kTls12, tls::Version::kTls13}) {
      asking.max_version = version;
      asking.client_certificates = tls::ClientCertificate::kOptional;
      tls::Context server = tls::Context::server(asking);
      TlsPair pair = shake(connect_ends(), tls::Context::client(with), server);
      expect(pair.server->peer_subject() == "CN=a client", "the client's subject");
      expect(shake(connect_ends(), tls::Context::client(client_options()), server)
                 .server->peer_subject()
                 .empty(),
             "no certificate");
      asking.client_certificates = tls::ClientCertificate::kRequired;
      server = tls::Context::server(asking);
      (void)shake(connect_ends(), tls::Context::client(with), server);
      // With TLS 1.3 the client hears of it when it reads, with 1.2 during the handshake.
      const auto use = [&](const tls::ClientOptions& options) {
        Ends ends = connect_ends();
        auto accepting = create_task([&] { return tls::accept(std::move(ends.server), server); });
        const std::string text = error_text<tls::Error>([&] {
          const TlsStream stream =
              tls::handshake(std::move(ends.client), tls::Context::client(options), "localhost");
          return read_once(*stream);
        });
        const std::string other = error_text<tls::Error>([&] { return await(std::move(accepting)); });
        return text + " / " + other;
      };
      expect_contains(use(client_options()), "peer did not return a certificate");
      expect_contains(use(client_options()), "alert");
      expect_contains(use(wrong), "self-signed certificate");
    }
  });
}

TEST_CASE("TLS 1.2 and 1.3 are spoken as far as both sides allow", "[tls]") {
  on_loops([] {
    tls::ClientOptions client = client_options();
    tls::ServerOptions server = server_options();
    client.max_version = tls::Version::kTls12;
    TlsPair pair = shake(connect_ends(), tls::Context::client(client), tls::Context::server(server));
    expect(pair.client->version() == "TLSv1.2", pair.client->version());
    server.min_version = tls::Version::kTls13;
    expect_contains(refused<tls::Error>(client, server), "alert protocol version");
    client.min_version = tls::Version::kTls13;
    expect_contains(error_text<std::invalid_argument>([&] { return tls::Context::client(client); }),
                    "min_version");
  });
}

TEST_CASE("Ciphers and groups are those that were set", "[tls]") {
  on_loops([] {
    tls::ClientOptions client = client_options();
    client.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305";
    client.cipher_suites = "TLS_CHACHA20_POLY1305_SHA256";
    client.groups = "P-256";
    const tls::Context server = tls::Context::server(server_options());
    expect(shake(connect_ends(), tls::Context::client(client), server).client->cipher() ==
               "TLS_CHACHA20_POLY1305_SHA256",
           "the cipher of 1.3");
    client.max_version = tls::Version::kTls12;
    expect(shake(connect_ends(), tls::Context::client(client), server).client->cipher() ==
               "ECDHE-ECDSA-CHACHA20-POLY1305",
           "the cipher of 1.2");
    for (std::string tls::ClientOptions::*setting :
         {&tls::ClientOptions::ciphers, &tls::ClientOptions::cipher_suites, &tls::ClientOptions::groups}) {
      tls::ClientOptions wrong = client_options();
      wrong.*setting = "no such thing";
      (void)error_text<tls::Error>([&] { return tls::Context::client(wrong); });
    }
  });
}

TEST_CASE("ALPN takes the server's first protocol that the client has", "[tls]") {
  on_loops([] {
    tls::ClientOptions client = client_options();
    tls::ServerOptions server = server_options();
    client.alpn = {"http/1.1", "h2"};
    server.alpn = {"h2", "http/1.1"};
    TlsPair pair = shake(connect_ends(), tls::Context::client(client), tls::Context::server(server));
    expect(pair.client->alpn() == "h2" && pair.server->alpn() == "h2", "h2");
    client.alpn = {"gopher"};
    pair = shake(connect_ends(), tls::Context::client(client), tls::Context::server(server));
    expect(pair.client->alpn().empty() && pair.server->alpn().empty(), "none in common: none");
    server.require_alpn = true;
    expect_contains(refused<tls::Error>(client, server), "no application protocol");
    pair = shake(connect_ends(), tls::Context::client(client_options()), tls::Context::server(server));
    expect(pair.server->alpn().empty(), "who offers none is not refused");
    client.alpn = {""};
    expect_contains(error_text<std::invalid_argument>([&] { return tls::Context::client(client); }), "alpn");
  });
}

TEST_CASE("The server's certificate, protocols and demands are those of the name that is asked for",
          "[tls]") {
  const Identity first =
      make_certificate({.names = "DNS:first.example", .issuer = &certificates().authority});
  const Identity wild =
      make_certificate({.names = "DNS:*.wild.example", .issuer = &certificates().authority});
  on_loops([&] {
    tls::ServerOptions strict = server_options(first);
    strict.client_certificates = tls::ClientCertificate::kRequired;
    strict.authorities = tls::Pem::text(certificates().authority.certificate);
    strict.max_version = tls::Version::kTls12;
    tls::ServerOptions relaxed = server_options(wild);
    relaxed.alpn = {"h2"};
    const tls::Context server = tls::Context::by_name(
        tls::Context::server(server_options()),
        {{"First.Example", tls::Context::server(strict)}, {"*.wild.example", tls::Context::server(relaxed)}});
    tls::ClientOptions options = client_options();
    options.alpn = {"h2"};
    const tls::Context client = tls::Context::client(options);
    TlsPair pair = shake(connect_ends(), client, server, {.server_hostname = "a.WILD.example"});
    expect(pair.client->alpn() == "h2" && pair.server->alpn() == "h2", "the name's protocol");
    pair = shake(connect_ends(), client, server);
    expect(pair.client->alpn().empty(), "the fallback's");
    expect_contains(error_text<tls::Error>([&] {
                      return shake(connect_ends(), client, server, {.server_hostname = "first.example"});
                    }),
                    "alert handshake failure");
    expect_contains(error_text<tls::VerificationError>([&] {
                      return shake(connect_ends(), client, server, {.server_hostname = "b.a.wild.example"});
                    }),
                    "hostname mismatch");
    (void)error_text<std::invalid_argument>([&] { return tls::Context::by_name(client, {}); });
    (void)error_text<std::invalid_argument>([&] { return tls::Context::by_name(server, {{"x", client}}); });
  });
}

// asyncio: test_sslproto SslProtoHandshakeTests.test_handshake_timeout_zero
// asyncio: test_sslproto SslProtoHandshakeTests.test_handshake_timeout_negative
TEST_CASE("Timeouts of zero and below, no transport and the other side's context are refused", "[tls]") {
  on_loops([] {
    const tls::Context client = tls::Context::client(client_options());
    const tls::Context server = tls::Context::server(server_options());
    for (const Duration time : {Duration(0), Duration(-1s)}) {
      for (const tls::HandshakeOptions& options : {tls::HandshakeOptions{.handshake_timeout = time},
                                                   tls::HandshakeOptions{.shutdown_timeout = time}}) {
        expect_contains(error_text<std::invalid_argument>([&] {
                          return tls::handshake(connect_ends().client, client, "localhost", options);
                        }),
                        "timeout");
        expect_contains(error_text<std::invalid_argument>(
                            [&] { return tls::accept(connect_ends().server, server, options); }),
                        "timeout");
      }
    }
    (void)error_text<std::invalid_argument>([&] { return tls::accept(nullptr, server); });
    (void)error_text<std::invalid_argument>([&] { return tls::accept(connect_ends().server, client); });
    (void)error_text<std::invalid_argument>(
        [&] { return tls::handshake(connect_ends().client, server, "x"); });
  });
}

// asyncio: test_sslproto BaseStartTLS.test_handshake_timeout
// asyncio: test_sslproto BaseStartTLS.test_create_connection_ssl_slow_handshake
// asyncio: test_ssl TestSSL.test_create_connection_ssl_slow_handshake
// asyncio: test_ssl TestSSL.test_ssl_handshake_timeout
TEST_CASE(
    "A handshake that stalls ends after its timeout, on either side, and the exception handler hears nothing",
    "[tls]") {
  on_loops([] {
    const tls::HandshakeOptions options{.handshake_timeout = 20ms};
    const SilentPeer peer;
    expect_contains(error_text<TimeoutError>([&] {
                      return tls::handshake(peer.connect(), tls::Context::client(client_options()),
                                            "localhost", options);
                    }),
                    "handshake took longer than 0.02 s");
    Ends ends = connect_ends();
    expect_contains(error_text<TimeoutError>([&] {
                      return tls::accept(std::move(ends.server), tls::Context::server(server_options()),
                                         options);
                    }),
                    "handshake took longer than 0.02 s");
    std::vector<std::byte> buffer(1);
    expect_equal(error_of([&] { (void)ends.client->read_some(buffer); }), ECONNRESET, "errno of the peer");
  });
}

// asyncio: test_sslproto BaseStartTLS.test_start_tls_slow_client_cancel
// asyncio: test_ssl TestSSL.test_start_tls_slow_client_cancel
// asyncio: test_sslproto SslProtoHandshakeTests.test_close_during_handshake
TEST_CASE("A handshake that is cancelled ends at once, and closes the connection", "[tls]") {
  on_loops([] {
    Ends ends = connect_ends();
    auto accepting = create_task(
        [&] { return tls::accept(std::move(ends.server), tls::Context::server(server_options())); });
    wait_until_waits(accepting, WaitReason::kReadable);
    accepting.cancel();
    accepting.wait();
    expect(accepting.cancelled(), "cancelled");
    std::vector<std::byte> buffer(1);
    expect_equal(error_of([&] { (void)ends.client->read_some(buffer); }), ECONNRESET, "errno of the peer");
  });
}

namespace {

// Lets so many bytes through, then ends: with an end of the stream or a reset.
class Breaking final : public ByteStream {
 public:
  Breaking(std::unique_ptr<ByteStream> stream, std::size_t bytes, bool resets)
      : stream_(std::move(stream)), left_(bytes), resets_(resets) {}
  std::size_t read_some(std::span<std::byte> buffer) override {
    if (left_ == 0) return end();
    const std::size_t count = stream_->read_some(buffer.first(std::min(buffer.size(), left_)));
    left_ -= count;
    return count;
  }
  std::size_t write_some(std::span<const std::byte> data) override { return stream_->write_some(data); }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    return stream_->try_write_some(data);
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return true; }
  void shutdown_write() override { stream_->shutdown_write(); }
  void close() noexcept override { stream_->close(); }
  void abort() noexcept override { stream_->abort(); }
  [[nodiscard]] bool is_open() const noexcept override { return stream_->is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return stream_->native_handle(); }

 private:
  std::size_t end() {
    if (!resets_) return 0;
    throw std::system_error(ECONNRESET, std::system_category(), "recv");
  }
  std::unique_ptr<ByteStream> stream_;
  std::size_t left_;
  bool resets_;
};

}  // namespace

// asyncio: test_sslproto SslProtoHandshakeTests.test_eof_received_waiter
// asyncio: test_sslproto SslProtoHandshakeTests.test_connection_lost
// asyncio: test_ssl TestSSL.test_ssl_handshake_connection_lost
TEST_CASE("A connection that ends, at whatever byte of the handshake, fails it with ECONNRESET", "[tls]") {
  const tls::Context client = tls::Context::client(client_options());
  const tls::Context server = tls::Context::server(server_options());
  on_loops([&] {
    const std::size_t step = fibrio::test::kSlowdown > 1 ? 97 : 13;
    for (const bool is_client : {true, false}) {
      for (const bool resets : {false, true}) {
        std::size_t failures = 0;
        for (std::size_t bytes = 0; bytes < 1200; bytes += step) {
          Ends ends = connect_ends();
          auto& broken = is_client ? ends.client : ends.server;
          broken = std::make_unique<Breaking>(std::move(broken), bytes, resets);
          auto accepting = create_task(
              [&] { return error_of([&] { (void)tls::accept(std::move(ends.server), server); }); });
          const int at_client =
              error_of([&] { (void)tls::handshake(std::move(ends.client), client, "localhost"); });
          const int at_server = await(accepting);
          const int error = is_client ? at_client : at_server;
          expect(error == 0 || error == ECONNRESET || error == EPIPE, "errno " + std::to_string(error));
          if (error != 0) ++failures;
        }
        expect(failures > 20 / step, "the handshake was cut in it");
      }
    }
  });
}

TEST_CASE("A handshake on a connection that was reset before it began fails with the error of a reset",
          "[tls]") {
  on_loops([] {
    for (const bool is_client : {true, false}) {
      StreamPair pair = connect_pair();
      TcpStream& ours = is_client ? pair.client : pair.server;
      (is_client ? pair.server : pair.client).abort();
      wait_until([&] { return error_of([&] { (void)ours.peer_address(); }) == ENOTCONN; }, "the reset");
      const int error = error_of([&] {
        auto transport = make_byte_stream(std::move(ours));
        if (is_client) {
          (void)tls::handshake(std::move(transport), tls::Context::client(client_options()), "localhost");
        } else {
          (void)tls::accept(std::move(transport), tls::Context::server(server_options()));
        }
      });
      expect(error == ECONNRESET || error == EPIPE, "errno " + std::to_string(error));
    }
  });
}

// asyncio: test_sslproto BaseStartTLS.test_start_tls_client_corrupted_ssl
// asyncio: test_ssl TestSSL.test_start_tls_client_corrupted_ssl
TEST_CASE("Garbage instead of TLS is a tls::Error, before and after the handshake", "[tls]") {
  on_loops([] {
    Ends ends = connect_ends();
    write_text(*ends.client, "GET / HTTP/1.1\r\n\r\n");
    expect_contains(error_text<tls::Error>([&] {
                      return tls::accept(std::move(ends.server), tls::Context::server(server_options()));
                    }),
                    "http request");
    ends = connect_ends();
    ByteStream& raw = *ends.client;
    TlsPair pair = shake(std::move(ends), tls::Context::client(client_options()),
                         tls::Context::server(server_options()));
    raw.write_all(test_data(1000));
    const auto read = [&] { return read_once(*pair.server); };
    const std::string first = error_text<tls::Error>(read);
    expect(first == error_text<tls::Error>(read), "the same error again");
    (void)error_text<tls::Error>([&] {
      write_text(*pair.server, "text");
      return 0;
    });
    pair.client->abort();
  });
}

TEST_CASE("What was read from the transport before the handshake goes to TLS first", "[tls]") {
  on_loops([] {
    Ends ends = connect_ends();
    auto client = create_task([&] {
      return tls::handshake(std::move(ends.client), tls::Context::client(client_options()), "localhost");
    });
    std::vector<std::byte> received(100);
    expect_equal(ends.server->read_some(received), 100, "bytes of the hello");
    const TlsStream server =
        tls::accept(std::move(ends.server), tls::Context::server(server_options()), {}, received);
    const TlsStream stream = await(std::move(client));
    write_text(*stream, "text");
    expect(read_text(*server, 4) == "text", "the text");
  });
}
