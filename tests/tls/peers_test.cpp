// Against other implementations' ends: the openssl command, and Python's ssl module.
#include <openssl/evp.h>

#include "support/process.hpp"
#include "support/program.hpp"
#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;

namespace {

std::string sha256(std::span<const std::byte> data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(data.data(), data.size(), digest, &size, EVP_sha256(), nullptr);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

// What programs read from files.
struct Files {
  TemporaryFile authority{certificates().authority.certificate};
  TemporaryFile server{certificates().server.certificate + certificates().server.key};
  TemporaryFile client{certificates().client.certificate + certificates().client.key};
};

std::pair<std::string, int> finish(Program& program) {
  return to_thread([&] { return program.finish(); });
}

void skip_without(const std::string& program) {
  Program probe({program, program == "openssl" ? "version" : "--version"});
  if (!probe.is_started() || probe.finish().second != 0)
    fibrio::test::skip(("no " + program + " here").c_str());
}

constexpr LoopShape kTwoShapes[] = {{1, false}, {4, true}};

}  // namespace

TEST_CASE("openssl s_client sends a megabyte, and gets one", "[tls]") {
  skip_without("openssl");
  const Files files;
  const std::vector<std::byte> data = test_data(1'000'003, 21);
  const TemporaryFile input(std::string(reinterpret_cast<const char*>(data.data()), data.size()));
  for (const LoopShape shape : kTwoShapes) {
    on_loop(shape, [&] {
      tls::ServerOptions options = server_options();
      options.client_certificates = tls::ClientCertificate::kRequired;
      options.authorities = tls::Pem::text(certificates().authority.certificate);
      options.alpn = {"test/1"};
      const tls::Context server = tls::Context::server(options);
      TcpListener listener = TcpListener::bind(loopback());
      for (const std::string version : {"-tls1_2", "-tls1_3"}) {
        Program client({"openssl", "s_client", "-quiet", version, "-connect",
                        listener.local_address().to_string(), "-servername", "localhost", "-verify_hostname",
                        "localhost", "-verify_return_error", "-CAfile", files.authority.path(), "-cert",
                        files.client.path(), "-key", files.client.path(), "-alpn", "other,test/1"},
                       input.path());
        const TlsStream stream = tls::accept(make_byte_stream(listener.accept()), server);
        expect(stream->alpn() == "test/1" && stream->peer_subject() == "CN=a client", "what was agreed on");
        const std::string got = read_text(*stream, data.size());
        expect(sha256(bytes_in(got)) == sha256(data), "the data that it sent");
        auto output = create_task([&] { return finish(client); });
        stream->write_all(data);
        stream->close();
        const auto [text, code] = await(std::move(output));
        expect_equal(code, 0, "exit code");
        // Behind the lines about verification.
        expect(text.size() > data.size() && sha256(bytes_in(text).last(data.size())) == sha256(data),
               "the data that it got");
      }
    });
  }
}

TEST_CASE("openssl s_client of TLS 1.1 and 1.0 is refused", "[tls]") {
  skip_without("openssl");
  for (const LoopShape shape : kTwoShapes) {
    on_loop(shape, [&] {
      const tls::Context server = tls::Context::server(server_options());
      TcpListener listener = TcpListener::bind(loopback());
      for (const std::string version : {"-tls1", "-tls1_1"}) {
        // Level 0, or it would not even try.
        Program client({"openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect",
                        listener.local_address().to_string()});
        const std::string text =
            error_text<tls::Error>([&] { return tls::accept(make_byte_stream(listener.accept()), server); });
        expect_contains(text, "unsupported protocol");
        const auto [output, code] = finish(client);
        expect(code != 0, "it failed");
        expect_contains(output, "alert protocol version");
      }
    });
  }
}

TEST_CASE("openssl s_server answers, also across key updates and with a session resumed", "[tls]") {
  skip_without("openssl");
  const Files files;
  for (const LoopShape shape : kTwoShapes) {
    on_loop(shape, [&] {
      for (const std::string version : {"-tls1_2", "-tls1_3"}) {
        Program server({"openssl", "s_server", version, "-accept", "127.0.0.1:0", "-cert",
                        files.server.path(), "-rev", "-Verify", "1", "-verify_return_error", "-CAfile",
                        files.authority.path()});
        const std::string started = to_thread([&] { return server.read_to("ACCEPT"); });
        const std::size_t colon = started.rfind(':');
        expect(colon != std::string::npos, "the port in: " + started);
        const auto port = static_cast<std::uint16_t>(std::stoi(started.substr(colon + 1)));
        tls::ClientOptions options = client_options();
        options.certificates = tls::Pem::file(files.client.path());
        const tls::Context client = tls::Context::client(options);
        for (int round = 0; round < 3; ++round) {
          const TlsStream stream = tls::connect("127.0.0.1", port, client, {.server_hostname = "localhost"});
          expect(stream->session_resumed() == (round > 0), "a session resumed but for the first time");
          for (int i = 0; i < 20; ++i) {
            const std::string line = "line " + std::to_string(i);
            write_text(*stream, line + "\n");
            const std::string wanted = std::string(line.rbegin(), line.rend()) + "\n";
            expect(read_text(*stream, wanted.size()) == wanted, "the line, reversed");
          }
          write_text(*stream, "CLOSE\n");
          expect(read_once(*stream).empty(), "its end");
        }
      }
    });
  }
}

TEST_CASE("Python's ssl module echoes what our client sends", "[tls]") {
  skip_without("python3");
  const Files files;
  const TemporaryFile script(R"(
import socket, ssl, sys
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=sys.argv[2])
context.load_cert_chain(sys.argv[1])
context.verify_mode = ssl.CERT_REQUIRED
context.set_alpn_protocols(["echo"])
with socket.create_server(("127.0.0.1", 0)) as listener:
    print("port", listener.getsockname()[1], flush=True)
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        context.maximum_version = version
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as stream:
            print(stream.getpeercert()["subject"][0][0][1], stream.selected_alpn_protocol(), flush=True)
            while data := stream.recv(70000):
                stream.sendall(data)
            stream.unwrap()
)");
  const std::vector<std::byte> data = test_data(1'000'003, 23);
  for (const LoopShape shape : kTwoShapes) {
    on_loop(shape, [&] {
      Program server({"python3", script.path(), files.server.path(), files.authority.path()});
      const std::string started = to_thread([&] { return server.read_to("port"); });
      expect(started.find("port ") == 0, "a port in: " + started);
      tls::ClientOptions options = client_options();
      options.certificates = tls::Pem::file(files.client.path());
      options.alpn = {"echo"};
      const tls::Context client = tls::Context::client(options);
      for (const std::string version : {"TLSv1.2", "TLSv1.3"}) {
        const auto port = static_cast<std::uint16_t>(std::stoi(started.substr(5)));
        const TlsStream stream = tls::connect("127.0.0.1", port, client);
        expect(stream->version() == version && stream->alpn() == "echo", "what was agreed on");
        auto writer = create_task([&] { stream->write_all(data); });
        const std::string back = read_text(*stream, data.size());
        await(writer);
        expect(sha256(bytes_in(back)) == sha256(data), "what was sent");
        stream->shutdown();
      }
      const auto [text, code] = finish(server);
      expect_equal(code, 0, "exit code, with: " + text);
      expect(text == "a client echo\na client echo\n", text);
    });
  }
}

TEST_CASE("Python's ssl module as the client: echo, a wrong name, an unknown authority", "[tls]") {
  skip_without("python3");
  const Files files;
  const TemporaryFile script(R"(
import hashlib, os, socket, ssl, sys
port, authority = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=authority)
data = os.urandom(1000003)
for piece in 1000003, 16385:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as stream:
            got = b""
            for at in range(0, len(data), piece * 4):
                part = data[at:at + piece * 4][:piece]
                stream.sendall(part)
                back = b""
                while len(back) < len(part):
                    back += stream.recv(65536)
                got += back
                assert back == part
            stream.unwrap().close()
    print("echoed", flush=True)
for context, name in (context, "elsewhere.example"), (ssl.create_default_context(), "localhost"):
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            context.wrap_socket(connection, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        print(error.verify_message, flush=True)
)");
  for (const LoopShape shape : kTwoShapes) {
    on_loop(shape, [&] {
      const tls::Context server = tls::Context::server(server_options());
      TcpListener listener = TcpListener::bind(loopback());
      Program client({"python3", script.path(), std::to_string(listener.local_address().port()),
                      files.authority.path()});
      for (int i = 0; i < 2; ++i) {
        const TlsStream stream = tls::accept(make_byte_stream(listener.accept()), server);
        echo(*stream);
        stream->close();
      }
      for (int i = 0; i < 2; ++i) {
        // With TLS 1.3 the client's word about our certificate comes during the handshake.
        expect_contains(
            error_text<tls::Error>([&] { return tls::accept(make_byte_stream(listener.accept()), server); }),
            "alert");
      }
      const auto [text, code] = finish(client);
      expect_equal(code, 0, "exit code, with: " + text);
      expect_contains(text, "echoed\nechoed\nHostname mismatch");
      expect_contains(text, "unable to get local issuer certificate");
    });
  }
}
