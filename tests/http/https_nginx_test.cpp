// Our session against nginx over TLS, and nginx between our session and our server.
#include <openssl/evp.h>

#include <algorithm>
#include <string>
#include <vector>

#include "fibrio/http/session.hpp"
#include "http/programs.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"
#include "support/tls.hpp"

using namespace fibrio;
using namespace http_test;
using namespace fibrio::tls_test;
namespace http = fibrio::http;

namespace {

http::SessionOptions secure_session(const tls::ClientOptions& client = client_options()) {
  http::SessionOptions options;
  options.make_secure = [context = tls::Context::client(client)](
                            TcpStream stream, const http::Url& url) -> std::unique_ptr<ByteStream> {
    return tls::handshake(make_byte_stream(std::move(stream)), context, url.host());
  };
  return options;
}

// Reads a body as it comes. What remains is its SHA-256, not its bytes.
std::string sha256_of(http::ClientResponse response) {
  expect(response.status() == 200, "status 200, not " + std::to_string(response.status()));
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> sum(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(sum.get(), EVP_sha256(), nullptr);
  std::vector<std::byte> buffer(50'000);
  while (const std::size_t count = response.read_some(buffer))
    EVP_DigestUpdate(sum.get(), buffer.data(), count);
  std::string digest(32, '\0');
  EVP_DigestFinal_ex(sum.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}
std::string sha256_of(const std::string& data) {
  std::string digest(32, '\0');
  EVP_Digest(data.data(), data.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr, EVP_sha256(),
             nullptr);
  return digest;
}

// nginx with a certificate of its own making: https on one port, on the other one http that leads there.
struct Nginx {
  Folder folder;
  ReservedPort port;
  ReservedPort plain_port;
  std::string base = "https://localhost:" + std::to_string(port);
  std::string plain_base = "http://localhost:" + std::to_string(plain_port);
  std::string large;  // 30 MB
  std::unique_ptr<http_test::Process> process;

  explicit Nginx(const std::string& locations = {}, const std::string& blocks = {}) {
    for (int i = 0; i < 10; ++i) large += folder.data() + std::to_string(i);
    folder.write("large.bin", large);
    folder.write("page.html", "before <!--# echo var=\"no\" default=\"middle\" --> after");
    folder.write("certificate.pem", certificates().server.certificate);
    folder.write("key.pem", certificates().server.key);
    std::filesystem::create_directory(folder.file("uploads"));
    process = std::make_unique<http_test::Process>(nginx_command(
        folder, blocks + "server { listen 127.0.0.1:" + std::to_string(plain_port) + "; return 301 " + base +
                    "$request_uri; }\nserver { listen 127.0.0.1:" + std::to_string(port) +
                    " ssl; listen 127.0.0.2:" + std::to_string(port) +
                    " ssl; ssl_certificate certificate.pem; ssl_certificate_key key.pem;" + R"conf(
                    client_max_body_size 100m; keepalive_requests 1000;
                    location /old { return 301 /data.bin; }
                    location /elsewhere { return 302 $scheme://$http_host/old; }
                    location /again { return 307 /uploads/again.bin; }
                    location /round { return 302 /round; }
                    location /page.html { ssi on; }
                    location /brief { keepalive_timeout 0; alias data.bin; }
                    location /uploads { dav_methods PUT DELETE; }
                    )conf" +
                    locations + "}\n"));
    if (!is_up(port) || !is_up(plain_port)) throw std::runtime_error("nginx does not start");
  }
};

// Of the connection that it comes on: its number, and that of the request.
std::string connection_of(http::Session& session, const Nginx& nginx) {
  return session.get(nginx.base + "/connection").read_all();
}

}  // namespace

TEST_CASE("Our session asks nginx over TLS: kept connections, chunks, redirects, 30 MB", "[http]") {
  fibrio::test::need_program("nginx");
  const Nginx nginx("location /connection { return 200 \"$connection $connection_requests\"; }");
  const std::string sum = sha256_of(nginx.large);
  on_loops([&] {
    http::Session session(secure_session());
    const std::string first = connection_of(session, nginx);
    expect(sha256_of(session.get(nginx.base + "/large.bin")) == sum, "30 MB");
    http::ClientResponse chunked = session.get(nginx.base + "/page.html");
    expect(chunked.field("Transfer-Encoding") == "chunked", "it comes in chunks");
    expect(chunked.read_all() == "before middle after", "and is put together");
    expect(
        session.head(nginx.base + "/large.bin").field("Content-Length") == std::to_string(nginx.large.size()),
        "HEAD");
    http::ClientResponse part =
        session.get(nginx.base + "/data.bin", {.fields = {{"Range", "bytes=100-199"}}});
    expect(part.status() == 206 && part.read_all() == nginx.folder.data().substr(100, 100), "a range");
    http::ClientResponse moved = session.get(nginx.base + "/elsewhere");
    expect(moved.redirects() == 2 && moved.read_all() == nginx.folder.data(), "two redirects");
    expect(connection_of(session, nginx) == first.substr(0, first.find(' ')) + " 9",
           "all of that on one connection, " + first);
    // nginx says "Connection: close"; then the next request makes a new one.
    expect(session.get(nginx.base + "/brief").read_all() == nginx.folder.data(),
           "the last of its connection");
    expect(session.idle_connections() == 0, "no kept connection");
    expect(connection_of(session, nginx).ends_with(" 1"), "a new connection");
    expect_throws<http::ClientError>([&] { (void)session.get(nginx.base + "/round"); },
                                     "redirects in a circle");
  });
}

TEST_CASE("Our session uploads to nginx over TLS, of known length and in chunks", "[http]") {
  fibrio::test::need_program("nginx");
  const Nginx nginx;
  const std::string sum = sha256_of(nginx.large);
  on_loops([&] {
    http::Session session(secure_session());
    const std::string url = nginx.base + "/uploads/";
    const auto put = [&](const std::string& name, http::RequestOptions options) {
      http::ClientResponse answer = session.request("PUT", url + name, std::move(options));
      (void)answer.read_all();
      expect(answer.status() == 201 || answer.status() == 204, name + ": " + std::to_string(answer.status()));
      expect(sha256_of(session.get(url + name)) == sum, name + ", read back");
      expect(session.request("DELETE", url + name).status() == 204, name + ", deleted");
    };
    const auto stream = [&](http::BodyWriter& out) {
      for (std::size_t at = 0; at < nginx.large.size(); at += 70'001)
        out.write(std::string_view(nginx.large).substr(at, 70'001));
    };
    put("text.bin", {.body = nginx.large});
    put("length.bin", {.stream = stream, .stream_length = nginx.large.size()});
    put("chunks.bin", {.stream = stream});
    // 307: the same request once more.
    http::ClientResponse again = session.request("PUT", nginx.base + "/again", {.body = nginx.large});
    (void)again.read_all();
    expect(again.redirects() == 1 && again.status() < 300, "307: " + std::to_string(again.status()));
    expect(sha256_of(session.get(url + "again.bin")) == sum, "what was sent twice");
    expect(session.request("DELETE", url + "again.bin").status() == 204, "deleted");
  });
}

TEST_CASE("Our session is led by nginx from http to https, also many at once", "[http]") {
  fibrio::test::need_program("nginx");
  const Nginx nginx;
  on_loops([&] {
    http::SessionOptions options = secure_session();
    options.max_connections = 20;
    http::Session session(options);
    http::ClientResponse led = session.get(nginx.plain_base + "/data.bin?a=b");
    expect(led.redirects() == 1 && led.url().to_string() == nginx.base + "/data.bin?a=b",
           "led to " + led.url().to_string());
    expect(led.read_all() == nginx.folder.data(), "the file");
    const std::string sum = sha256_of(nginx.folder.data());
    std::vector<Task<bool>> tasks;
    for (int i = 0; i < 40; ++i) {
      tasks.push_back(spawn([&] { return sha256_of(session.get(nginx.plain_base + "/data.bin")) == sum; }));
    }
    for (const auto& task : tasks) expect(await(task), "the file, by one of many");
  });
}

TEST_CASE("Our session refuses nginx's certificate: authority, name, and says why", "[http]") {
  fibrio::test::need_program("nginx");
  const Nginx nginx;
  const Identity stranger = make_certificate({.subject = "another authority", .is_authority = true});
  on_loops([&] {
    const auto error_of_get = [&](const tls::ClientOptions& client, const std::string& url) {
      http::Session session(secure_session(client));
      return error_text<tls::VerificationError>([&] { return session.get(url).status(); });
    };
    tls::ClientOptions wrong;
    wrong.authorities = tls::Pem::text(stranger.certificate);
    expect_contains(error_of_get(wrong, nginx.base + "/data.bin"), "unable to get local issuer certificate");
    expect_contains(error_of_get({}, nginx.base + "/data.bin"), "unable to get local issuer certificate");
    expect_contains(error_of_get(wrong, nginx.plain_base + "/data.bin"),
                    "unable to get local issuer certificate");  // after a redirect too
    expect_contains(error_of_get(client_options(), "https://127.0.0.2:" + std::to_string(nginx.port) + "/"),
                    "mismatch");
    http::Session none;
    expect_contains(error_text<std::invalid_argument>([&] { return none.get(nginx.base + "/").status(); }),
                    "make_secure");
    http::Session session(secure_session());
    expect(session.get(nginx.base + "/data.bin").read_all() == nginx.folder.data(),
           "nginx still serves others");
  });
}

TEST_CASE("nginx passes requests on to our server, on connections that it keeps", "[http]") {
  fibrio::test::need_program("nginx");
  for (const std::size_t workers : {1, 2, 4}) {
    ServerThread server(
        [](http::Server& routes) {
          routes.route("POST", "/app/echo", [](http::Request& request) {
            http::Response response;
            response.stream = [body = request.read_all()](http::BodyWriter& out) {
              for (std::size_t at = 0; at < body.size(); at += 10'007)
                out.write(std::string_view(body).substr(at, 10'007));
            };
            return response;
          });
        },
        {.max_body_bytes = 10'000'000}, workers);
    const Nginx nginx(
        "location /app/ { proxy_pass http://ours; proxy_http_version 1.1; proxy_set_header Connection ''; "
        "proxy_request_buffering off; }",
        "upstream ours { server 127.0.0.1:" + std::to_string(server.port()) + "; keepalive 16; }\n");
    // Not on_loop: it counts fds, and nginx keeps connections to our server, which is in this process.
    fibrio::EventLoop().run_until_complete([&] {
      http::Session session(secure_session());
      const std::string data = nginx.folder.data();
      std::vector<Task<>> tasks;
      for (std::size_t i = 0; i < 16; ++i) {
        tasks.push_back(spawn([&session, &nginx, &data, i] {
          for (std::size_t n = 0; n < 5; ++n) {
            const std::string body = data.substr(0, (i * 5 + n) * 37'000);
            http::RequestOptions options;
            if (n % 2 == 0) {
              options.stream = [&body](http::BodyWriter& out) { out.write(body); };
            } else {
              options.body = body;
            }
            http::ClientResponse answer =
                session.request("POST", nginx.base + "/app/echo", std::move(options));
            expect(answer.status() == 200, "status " + std::to_string(answer.status()));
            expect(answer.read_all() == body, "the body that was sent");
          }
        }));
      }
      for (const auto& task : tasks) await(task);
    });
    CHECK(server.server().stats().requests == 80);
    CHECK(server.server().stats().accepted <= 16);
  }
}
