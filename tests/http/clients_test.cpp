// Other people's programs: curl and Python's http.client ask our server; our session asks Python's
// http.server and nginx. Each is skipped where it is not installed.
#include <string>

#include "fibrio/http/session.hpp"
#include "http/programs.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;

namespace {

void add_routes(http::Server& server, const Folder& folder) {
  server.files("/files", folder.path());
  server.route("POST", "/echo", [](http::Request& request) {
    return http::Response(request.read_all(), "application/octet-stream");
  });
  server.route("PUT", "/echo", [](http::Request& request) {
    return http::Response(request.read_all(), "application/octet-stream");
  });
  server.route("GET", "/chunks", [](http::Request&) {
    http::Response response;
    response.stream = [](http::BodyWriter& out) {
      for (int i = 0; i < 1000; ++i) out.write("chunk " + std::to_string(i) + "\n");
    };
    return response;
  });
}

}  // namespace

TEST_CASE("curl gets, uploads, asks for ranges, and keeps its connection", "[http]") {
  fibrio::test::need_program("curl");
  const Folder folder;
  ServerThread server([&](http::Server& routes) { add_routes(routes, folder); },
                      {.max_body_bytes = 10'000'000});
  const std::string base = "http://127.0.0.1:" + std::to_string(server.port());
  const std::string curl = "curl -sS --max-time 20 ";
  CHECK((run(curl + base + "/files/data.bin") == folder.data()));
  CHECK((run(curl + "--http1.0 " + base + "/files/data.bin") == folder.data()));
  CHECK((run(curl + "-r 1000-2999 " + base + "/files/data.bin") == folder.data().substr(1000, 2000)));
  CHECK((run(curl + "-r -500 " + base + "/files/data.bin") ==
         folder.data().substr(folder.data().size() - 500)));
  CHECK(run(curl + "-I " + base + "/files/data.bin").find("Content-Length: 3000000") != std::string::npos);
  // A chunked upload; curl waits for "100 Continue" before a body of this size.
  CHECK((run(curl + "-T - " + base + "/echo < " + folder.file("data.bin")) == folder.data()));
  CHECK((run(curl + "-H 'Expect: 100-continue' --data-binary @" + folder.file("data.bin") + " " + base +
             "/echo") == folder.data()));
  CHECK((run(curl + "-H 'Transfer-Encoding: chunked' --data-binary @" + folder.file("data.bin") + " " + base +
             "/echo") == folder.data()));
  const std::string chunks = run(curl + base + "/chunks");
  CHECK(chunks.size() == 1000 * 7 + 10 + 90 * 2 + 900 * 3);
  CHECK(chunks.ends_with("chunk 999\n"));
  // Two requests, one connection; then a body that is refused before it is sent.
  CHECK(run(curl + "-o /dev/null -o /dev/null -w '%{num_connects} ' " + base + "/chunks " + base +
            "/chunks") == "1 0 ");
  CHECK(run(curl +
            "-o /dev/null -w '%{http_code}' -H 'Content-Length: 99999999' -H 'Expect: 100-continue' -d x " +
            base + "/echo") == "413");
  CHECK(run(curl + "-o /dev/null -w '%{http_code}' -z '1 Jan 2100 00:00:00 GMT' " + base +
            "/files/data.bin") == "304");
}

TEST_CASE("Python's http.client asks our server", "[http]") {
  fibrio::test::need_program("python3");
  const Folder folder;
  ServerThread server([&](http::Server& routes) { add_routes(routes, folder); });
  folder.write("ask.py", R"py(
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
def ask(method, path, **more):
    c.request(method, path, **more)
    r = c.getresponse()
    return r.status, r.read()
assert ask("GET", "/chunks")[1].count(b"\n") == 1000
first = c.sock
assert ask("POST", "/echo", body=b"abc") == (200, b"abc")
assert ask("PUT", "/echo", body=iter([b"a" * 1000, b"b" * 2000]), encode_chunked=True) == (200, b"a" * 1000 + b"b" * 2000)
assert ask("HEAD", "/files/data.bin") == (200, b"")
assert ask("GET", "/files/data.bin", headers={"Range": "bytes=0-9"})[0] == 206
assert ask("GET", "/nowhere")[0] == 404
assert c.sock is first
print("ok")
)py");
  CHECK(run("python3 " + folder.file("ask.py") + " " + std::to_string(server.port()) + " 2>&1") == "ok\n");
}

TEST_CASE("Our session asks Python's http.server", "[http]") {
  fibrio::test::need_program("python3");
  const Folder folder;
  std::filesystem::create_directory(folder.file("sub"));
  folder.write("sub/index.html", "in sub");
  const int port = free_port();
  const Process process({"python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", folder.path(),
                         std::to_string(port)});
  REQUIRE(is_up(port));
  const std::string base = "http://127.0.0.1:" + std::to_string(port);
  fibrio::net_test::on_loops([&] {
    using fibrio::net_test::expect;
    http::Session session;
    expect(session.get(base + "/data.bin").read_all() == folder.data(), "a file");  // HTTP/1.0: to the end
    http::ClientResponse moved = session.get(base + "/sub");
    expect(moved.redirects() == 1 && moved.read_all() == "in sub", "a redirect");
    expect(session.get(base + "/nowhere").status() == 404, "404");
    expect(session.post(base + "/data.bin", "x").status() == 501, "501");
  });
}

TEST_CASE("Our session asks a server of Python's by HTTP/1.1: kept, chunks with extensions, 103, 204",
          "[http]") {
  fibrio::test::need_program("python3");
  const Folder folder;
  const std::string script = folder.write("serve.py", R"py(
import hashlib, http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    requests = 0
    def log_message(self, *arguments): pass
    def answer(self, body, *fields):
        self.send_response(200)
        for name, value in fields: self.send_header(name, value)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.requests += 1
        if self.path == "/count":
            self.answer(b"%d" % self.requests)
        elif self.path == "/hints":
            self.send_response_only(103)
            self.send_header("Link", "</style.css>; rel=preload")
            self.end_headers()
            self.answer(b"the answer itself")
        elif self.path == "/nothing":
            self.send_response(204)
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            for i in range(1, 300):
                part = b"%d " % i * i
                self.wfile.write(b"%X;name=\"a;b\"\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\nX-Sum: none\r\n\r\n")
    def do_POST(self):
        self.requests += 1
        body = b""
        if self.headers["Transfer-Encoding"] == "chunked":
            while (size := int(self.rfile.readline(), 16)) > 0:
                body += self.rfile.read(size)
                assert self.rfile.readline() == b"\r\n"
            assert self.rfile.readline() == b"\r\n"
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(body, ("X-Sum", hashlib.sha256(body).hexdigest()))

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
)py");
  const int port = free_port();
  const Process process({"python3", script, std::to_string(port)});
  REQUIRE(is_up(port));
  const std::string base = "http://127.0.0.1:" + std::to_string(port);
  const std::string sum = run("sha256sum " + folder.file("data.bin")).substr(0, 64);
  std::string chunks;
  for (int i = 1; i < 300; ++i) {
    for (int n = 0; n < i; ++n) chunks += std::to_string(i) + " ";
  }
  fibrio::net_test::on_loops([&] {
    using fibrio::net_test::expect;
    http::Session session;
    expect(session.get(base + "/chunked").read_all() == chunks, "chunks, put together");
    expect(session.get(base + "/hints").read_all() == "the answer itself", "what follows early hints");
    const http::ClientResponse nothing = session.get(base + "/nothing");
    expect(nothing.status() == 204, "no content");
    for (const bool is_chunked : {false, true}) {
      http::RequestOptions options;
      options.stream = [&](http::BodyWriter& out) { out.write(folder.data()); };
      if (!is_chunked) options.stream_length = folder.data().size();
      http::ClientResponse answer = session.request("POST", base + "/echo", std::move(options));
      expect(answer.field("X-Sum") == sum, "it got what was sent");
      expect(answer.read_all() == folder.data(), "and sent it back");
    }
    expect(session.get(base + "/count").read_all() == "6", "all of that on one connection");
  });
}

TEST_CASE("Our session asks nginx: kept connections, ranges, redirects, many at once", "[http]") {
  fibrio::test::need_program("nginx");
  const Folder folder;
  const int port = free_port();
  folder.write("page.html", "before <!--# echo var=\"no\" default=\"middle\" --> after");
  const Process process(nginx_command(
      folder,
      "server { listen 127.0.0.1:" + std::to_string(port) +
          "; location /old { return 301 /data.bin; } location /chunked { ssi on; ssi_types *; alias " +
          folder.path() + "; } }"));
  REQUIRE(is_up(port));
  const std::string base = "http://127.0.0.1:" + std::to_string(port);
  fibrio::net_test::on_loops([&] {
    using fibrio::net_test::expect;
    http::Session session({.max_connections = 10});
    for (int i = 0; i < 3; ++i) expect(session.get(base + "/data.bin").read_all() == folder.data(), "a file");
    expect(session.idle_connections() == 1, "one kept connection");
    http::ClientResponse moved = session.get(base + "/old");
    expect(moved.redirects() == 1 && moved.read_all() == folder.data(), "a redirect");
    http::ClientResponse part = session.get(base + "/data.bin", {.fields = {{"Range", "bytes=100-199"}}});
    expect(part.status() == 206 && part.read_all() == folder.data().substr(100, 100), "a range");
    http::ClientResponse chunked = session.get(base + "/chunked/page.html");
    expect(chunked.field("Transfer-Encoding") == "chunked", "it comes in chunks");
    expect(chunked.read_all() == "before middle after", "and is put together");
    std::vector<fibrio::Task<bool>> tasks;
    for (int i = 0; i < 40; ++i) {
      tasks.push_back(
          fibrio::spawn([&] { return session.get(base + "/data.bin").read_all() == folder.data(); }));
    }
    for (const auto& task : tasks) expect(fibrio::await(task), "the file, by one of many");
    expect(session.head(base + "/data.bin").field("Content-Length") == "3000000", "HEAD");
  });
}
