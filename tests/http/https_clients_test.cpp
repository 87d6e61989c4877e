// Other people's clients of https: curl, Python's urllib and http.client, openssl s_client, ab. They verify our
// certificate, and every body is compared, or its SHA-256.
#include <string>

#include "http/programs.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"
#include "support/tls.hpp"

using namespace http_test;
namespace http = fibrio::http;
namespace tls = fibrio::tls;

namespace {

// An https server with files, an echo and chunks; what its clients need to know is in `folder`.
struct SecureServer {
  Folder folder;
  std::string authority =
      folder.write("authority.pem", fibrio::tls_test::certificates().authority.certificate);
  ServerThread server;
  std::string base = "https://localhost:" + std::to_string(server.port());

  explicit SecureServer(std::size_t workers)
      : server([this](http::Server& routes) { add_routes(routes); }, options(), workers) {}

  static http::ServerOptions options() {
    tls::ServerOptions tls_options = fibrio::tls_test::server_options();
    tls_options.alpn = {"http/1.1"};
    http::ServerOptions options;
    options.max_body_bytes = 10'000'000;
    options.make_stream = [context = tls::Context::server(tls_options)](
                              fibrio::TcpStream stream) -> std::unique_ptr<fibrio::ByteStream> {
      return tls::accept(fibrio::make_byte_stream(std::move(stream)), context);
    };
    return options;
  }
  void add_routes(http::Server& routes) const {
    routes.files("/files", folder.path());
    for (const char* method : {"POST", "PUT"}) {
      routes.route(method, "/echo", [](http::Request& request) {
        return http::Response(request.read_all(), "application/octet-stream");
      });
    }
    routes.route("GET", "/chunks", [this](http::Request&) {
      http::Response response;
      response.stream = [this](http::BodyWriter& out) {
        for (std::size_t at = 0; at < 500'000; at += 777) {
          out.write(std::string_view(folder.data()).substr(at, 777));
          if (at % 7 == 0) out.flush();
        }
      };
      return response;
    });
  }
};

}  // namespace

TEST_CASE("curl over TLS: uploads in chunks, ranges, 100-continue, kept connections", "[http]") {
  fibrio::test::need_program("curl");
  for (const std::size_t workers : {1, 2, 4}) {
    const SecureServer secure(workers);
    const std::string& base = secure.base;
    const std::string& data = secure.folder.data();
    const std::string file = secure.folder.file("data.bin");
    const std::string curl = "curl -sS --http1.1 --max-time 20 --cacert " + secure.authority + " ";
    CHECK((run(curl + base + "/files/data.bin") == data));
    CHECK((run(curl + "--tls-max 1.2 " + base + "/files/data.bin") == data));
    CHECK((run(curl + "-r 1000-2999 " + base + "/files/data.bin") == data.substr(1000, 2000)));
    CHECK((run(curl + "-r -500 " + base + "/files/data.bin") == data.substr(data.size() - 500)));
    CHECK((run(curl + "-T - " + base + "/echo < " + file) == data));
    CHECK((run(curl + "-T " + file + " " + base + "/echo") == data));
    const std::string continued = run(curl + "-v -H 'Expect: 100-continue' -o " + secure.folder.file("back") +
                                      " --data-binary @" + file + " " + base + "/echo 2>&1");
    CHECK(continued.find("< HTTP/1.1 100 Continue") < continued.find("< HTTP/1.1 200 OK"));
    CHECK(continued.find("ALPN: server accepted http/1.1") != std::string::npos);
    CHECK((secure.folder.read("back") == data));
    const std::string chunks = run(curl + base + "/chunks");
    CHECK((chunks == data.substr(0, (500'000 + 776) / 777 * 777)));
    CHECK(run(curl + "-o /dev/null -o /dev/null -o /dev/null -w '%{num_connects} ' " + base + "/chunks " +
              base + "/files/data.bin " + base + "/chunks") == "1 0 0 ");
    // 40 at once, each on a connection of its own.
    const std::string all =
        run(curl + "-Z --parallel-immediate --parallel-max 40 -o /dev/null " +
            "-w '%{http_code} %{size_download}\n' '" + base + "/files/data.bin?[1-40]' 2>/dev/null");
    std::string wanted;
    for (int i = 0; i < 40; ++i) wanted += "200 3000000\n";
    CHECK(all == wanted);
  }
}

TEST_CASE("curl trusts our server only with the right authority and name", "[http]") {
  fibrio::test::need_program("curl");
  const SecureServer secure(2);
  const std::string curl = "curl -sS --max-time 20 ";
  CHECK(run(curl + secure.base + "/chunks 2>/dev/null").find("(exit status 60)") != std::string::npos);
  const std::string port = std::to_string(secure.server.port());
  CHECK(run(curl + "--cacert " + secure.authority + " --resolve other.test:" + port +
            ":127.0.0.1 https://other.test:" + port + "/chunks 2>/dev/null")
            .find("(exit status 60)") != std::string::npos);
  CHECK((run(curl + "--cacert " + secure.authority + " " + secure.base + "/files/data.bin") ==
         secure.folder.data()));
}

TEST_CASE("Python asks over TLS, by eight threads at once", "[http]") {
  fibrio::test::need_program("python3");
  for (const std::size_t workers : {1, 2, 4}) {
    SecureServer secure(workers);
    const std::string script = secure.folder.write("ask.py", R"py(
import concurrent.futures, hashlib, http.client, os, ssl, sys, urllib.request
port, authority = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=authority)
whole = urllib.request.urlopen(f"https://localhost:{port}/files/data.bin", context=context).read()

def sha(data):
    return hashlib.sha256(data).hexdigest()

def ask(number):
    c = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
    def request(method, path, **more):
        c.request(method, path, **more)
        r = c.getresponse()
        return r.status, r.read()
    for i in range(10):
        data = os.urandom(number * 10007 + i)
        status, back = request("POST", "/echo", body=data)
        assert status == 200 and sha(back) == sha(data)
        pieces = [data[at:at + 5000] for at in range(0, len(data), 5000)]
        status, back = request("PUT", "/echo", body=iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        assert status == 200 and sha(back) == sha(data)
        first = number * 1000 + i
        status, back = request("GET", "/files/data.bin", headers={"Range": f"bytes={first}-{first + 4999}"})
        assert status == 206 and sha(back) == sha(whole[first:first + 5000])
    assert sha(request("GET", "/files/data.bin")[1]) == sha(whole)
    c.close()

with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(ask, range(8)))
print(sha(whole))
)py");
    const std::string sum = run("python3 " + script + " " + std::to_string(secure.server.port()) + " " +
                                secure.authority + " 2>&1");
    const std::string right = run("sha256sum " + secure.folder.file("data.bin"));
    CHECK(sum == right.substr(0, 64) + "\n");
    CHECK(secure.server.server().stats().accepted == 9);
  }
}

TEST_CASE("openssl s_client asks in a pipeline, and gets every byte", "[http]") {
  fibrio::test::need_program("openssl");
  for (const std::size_t workers : {1, 2, 4}) {
    const SecureServer secure(workers);
    const std::string requests =
        secure.folder.write("requests",
                            "GET /files/data.bin HTTP/1.1\r\nHost: localhost\r\nRange: bytes=5-9\r\n\r\n"
                            "GET /files/data.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    for (const char* version : {"-tls1_2", "-tls1_3"}) {
      const std::string output =
          run("openssl s_client -quiet " + std::string(version) +
              " -alpn http/1.1 -connect 127.0.0.1:" + std::to_string(secure.server.port()) +
              " -servername localhost -verify_hostname localhost -CAfile " + secure.authority +
              " -verify_return_error <" + requests + " 2>/dev/null");
      const std::string& data = secure.folder.data();
      CHECK(output.starts_with("HTTP/1.1 206 Partial Content\r\n"));
      CHECK(output.find("\r\n\r\n" + data.substr(5, 5) + "HTTP/1.1 200 OK\r\n") != std::string::npos);
      CHECK((output.ends_with("\r\n\r\n" + data)));
    }
  }
}

TEST_CASE("ab finds no failed request over TLS", "[http]") {
  fibrio::test::need_program("ab");
  const SecureServer secure(2);
  constexpr int kRequests = 1000 / fibrio::test::kSlowdown;
  for (const std::string keep_alive : {"-k ", ""}) {
    const std::string output =
        run("ab -q -s 20 -c 10 -n " + std::to_string(kRequests) + " " + keep_alive +
            "https://127.0.0.1:" + std::to_string(secure.server.port()) + "/files/authority.pem 2>&1");
    INFO(output);
    CHECK(number_after(output, "Complete requests:") == kRequests);
    CHECK(number_after(output, "Failed requests:") == 0);
    CHECK(number_after(output, "Non-2xx responses:") == -1);
  }
}
