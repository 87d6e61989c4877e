#include <openssl/ssl.h>

#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;

namespace {

// Connections to one place, as the sessions are kept by name and port.
struct Place {
  TcpListener listener = TcpListener::bind(loopback());

  // One short visit; says whether it resumed a session, in the eyes of both.
  bool visit(const tls::Context& client, const tls::Context& server, const std::string& name = "localhost") {
    StreamPair pair = connect_pair(listener);
    TlsPair streams =
        shake({make_byte_stream(std::move(pair.client)), make_byte_stream(std::move(pair.server))}, client,
              server, {.server_hostname = name});
    write_text(*streams.server, "hello");
    expect(read_text(*streams.client, 5) == "hello", "the server's word, and its tickets before it");
    expect(streams.client->session_resumed() == streams.server->session_resumed(), "one opinion");
    return streams.client->session_resumed();
  }
};

}  // namespace

TEST_CASE("A client resumes its latest session with a server, of TLS 1.2 and 1.3", "[tls]") {
  on_loops([] {
    for (const tls::Version version : {tls::Version::kTls12, tls::Version::kTls13}) {
      tls::ClientOptions options = client_options();
      options.max_version = version;
      const tls::Context client = tls::Context::client(options);
      const tls::Context server = tls::Context::server(server_options());
      Place place;
      expect(!place.visit(client, server), "the first handshake is a full one");
      for (int i = 0; i < 3; ++i) expect(place.visit(client, server), "later ones are not");
      Place elsewhere;
      expect(!elsewhere.visit(client, server), "another port is another server");
      expect(!place.visit(tls::Context::client(options), server), "another context has sessions of its own");
      const tls::Context restarted = tls::Context::server(server_options());
      expect(!place.visit(client, restarted), "a server that cannot read the ticket does the full handshake");
      expect(place.visit(client, restarted), "and gives a ticket of its own");
    }
  });
}

TEST_CASE("Sessions are not kept if either side does not want it, and only of so many servers", "[tls]") {
  on_loops([] {
    for (const tls::Version version : {tls::Version::kTls12, tls::Version::kTls13}) {
      tls::ServerOptions without = server_options();
      without.tickets = false;
      without.max_version = version;
      const tls::Context client = tls::Context::client(client_options());
      const tls::Context no_tickets = tls::Context::server(without);
      Place first;
      for (int i = 0; i < 2; ++i) expect(!first.visit(client, no_tickets), "no tickets");
      tls::ClientOptions options = client_options();
      options.max_version = version;
      options.kept_sessions = 0;
      const tls::Context forgetful = tls::Context::client(options);
      const tls::Context server = tls::Context::server(server_options());
      for (int i = 0; i < 2; ++i) expect(!first.visit(forgetful, server), "no sessions");
      options.kept_sessions = 1;
      const tls::Context one = tls::Context::client(options);
      Place second;
      expect(!first.visit(one, server) && first.visit(one, server), "the one server's");
      expect(!second.visit(one, server) && second.visit(one, server), "the other one's takes its place");
      expect(!first.visit(one, server), "and the first is forgotten");
    }
  });
}

TEST_CASE("A session begun under one name is not resumed under another one that demands a certificate",
          "[tls]") {
  const Identity both =
      make_certificate({.names = "DNS:open.example,DNS:strict.example", .issuer = &certificates().authority});
  on_loops([&] {
    for (const tls::Version version : {tls::Version::kTls12, tls::Version::kTls13}) {
      tls::ServerOptions open = server_options(both);
      open.max_version = version;
      tls::ServerOptions strict = open;
      strict.client_certificates = tls::ClientCertificate::kRequired;
      strict.authorities = tls::Pem::text(certificates().authority.certificate);
      const tls::Context server = tls::Context::by_name(
          tls::Context::server(open),
          {{"open.example", tls::Context::server(open)}, {"strict.example", tls::Context::server(strict)}});
      Place place;
      // A client that believes the two names to be one: it keeps its session by address.
      tls::ClientOptions options = client_options();
      options.check_hostname = false;
      const tls::Context client = tls::Context::client(options);
      expect(!place.visit(client, server, "open.example"), "the first handshake is a full one");
      expect(place.visit(client, server, "open.example"), "the name's session");
      // The session of open.example, presented to strict.example by OpenSSL itself.
      SSL_CTX* const raw = SSL_CTX_new(TLS_client_method());
      SSL_SESSION* session = nullptr;
      const auto visit = [&](const char* name) {
        StreamPair pair = connect_pair(place.listener);
        auto accepting = create_task([&]() -> std::string {
          try {
            const TlsStream stream = tls::accept(make_byte_stream(std::move(pair.server)), server);
            write_text(*stream, "hello");
            return stream->session_resumed() ? "resumed" : "full";
          } catch (const tls::Error& error) {
            return error.what();
          }
        });
        const int fd = pair.client.release();
        await(get_running_loop().run_in_executor(nullptr, [&] {
          ::fcntl(fd, F_SETFL, 0);  // blocking
          SSL* const ssl = SSL_new(raw);
          SSL_set_fd(ssl, fd);
          SSL_set_tlsext_host_name(ssl, name);
          if (session != nullptr) SSL_set_session(ssl, session);
          char buffer[8];
          if (SSL_connect(ssl) == 1 && SSL_read(ssl, buffer, sizeof buffer) > 0 && session == nullptr) {
            session = SSL_get1_session(ssl);
          }
          SSL_shutdown(ssl);
          SSL_free(ssl);
          ::close(fd);
        }));
        return await(std::move(accepting));
      };
      expect(visit("open.example") == "full", "a full handshake");
      expect(session != nullptr && SSL_SESSION_is_resumable(session) == 1, "a session to try with");
      expect(visit("open.example") == "resumed", "the session is good where it was begun");
      expect_contains(visit("strict.example"), "peer did not return a certificate");
      SSL_SESSION_free(session);
      SSL_CTX_free(raw);
    }
  });
}

TEST_CASE("A resumed session keeps the certificates of both sides", "[tls]") {
  on_loops([] {
    tls::ServerOptions options = server_options();
    options.client_certificates = tls::ClientCertificate::kRequired;
    options.authorities = tls::Pem::text(certificates().authority.certificate);
    tls::ClientOptions with = client_options();
    with.certificates = tls::Pem::text(certificates().client.certificate + certificates().client.key);
    const tls::Context client = tls::Context::client(with);
    const tls::Context server = tls::Context::server(options);
    Place place;
    (void)place.visit(client, server);
    StreamPair pair = connect_pair(place.listener);
    TlsPair streams = shake(
        {make_byte_stream(std::move(pair.client)), make_byte_stream(std::move(pair.server))}, client, server);
    expect(streams.server->session_resumed(), "resumed");
    expect(streams.server->peer_subject() == "CN=a client", streams.server->peer_subject());
    expect(streams.client->peer_certificate() == certificates().server.certificate, "the server's");
  });
}
