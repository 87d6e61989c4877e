// How TLS ends with peers that stall, and what it refuses by default.
#include <string>

#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;

namespace {

// Whether the handshake between these two comes about.
bool agree(const tls::ClientOptions& client, const tls::ServerOptions& server) {
  try {
    const TlsPair pair = shake(connect_ends(), tls::Context::client(client), tls::Context::server(server));
    return true;
  } catch (const tls::Error&) {
    return false;
  }
}

}  // namespace

TEST_CASE("A TLS writer that is closed with unsent data ends though its peer does not read", "[tls]") {
  on_loops([] {
    for (const bool is_server : {false, true}) {
      PairOptions options;
      options.client.shutdown_timeout = options.server.shutdown_timeout = 50ms;
      TlsPair pair = shake(connect_ends(), tls::Context::client(client_options()),
                           tls::Context::server(server_options()), options);
      auto [reader, writer] = make_streams(std::move(is_server ? pair.server : pair.client));
      writer.write(std::string(20'000'000, 'x'));
      writer.close();
      auto& closing = writer;
      expect_throws<TimeoutError>([&] { closing.wait_closed(); }, "the limit");
    }
  });
}

TEST_CASE("A TLS writer that is closed sends everything to a peer that reads", "[tls]") {
  on_loops([] {
    TlsPair pair = tls_pair();
    auto [reader, writer] = make_streams(std::move(pair.client));
    const std::vector<std::byte> data = test_data(3'000'000);
    writer.write(data);
    writer.close();
    expect_stream(*pair.server, data);
    writer.wait_closed();
  });
}

TEST_CASE("A certificate without alternative names is refused, whatever its subject", "[tls]") {
  on_loops([] {
    const Identity cn_only =
        make_certificate({.subject = "localhost", .names = {}, .issuer = &certificates().authority});
    const std::string text = error_text<tls::VerificationError>([&] {
      return shake(connect_ends(), tls::Context::client(client_options()),
                   tls::Context::server(server_options(cn_only)));
    });
    expect_contains(text, "ostname mismatch");
  });
}

TEST_CASE("TLS refuses large groups and suites without authenticated encryption unless told", "[tls]") {
  on_loops([] {
    expect(agree(client_options(), server_options()), "the defaults agree");
    for (const char* group : {"ffdhe2048", "ffdhe8192", "P-521"}) {
      tls::ClientOptions client = client_options();
      client.groups = group;
      expect(!agree(client, server_options()), std::string("the server refuses ") + group);
      tls::ServerOptions server = server_options();
      server.groups = group;
      expect(!agree(client_options(), server), std::string("the client does not offer ") + group);
      expect(agree(client, server), std::string("both were told: ") + group);
    }
    for (const char* suite : {"ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"}) {
      tls::ClientOptions client = client_options();
      client.max_version = tls::Version::kTls12;
      client.ciphers = suite;
      expect(!agree(client, server_options()), std::string("the server refuses ") + suite);
      tls::ServerOptions server = server_options();
      server.ciphers = suite;
      expect(agree(client, server), std::string("both were told: ") + suite);
    }
  });
}
