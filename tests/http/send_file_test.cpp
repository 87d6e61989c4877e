// Bodies that the kernel sends: files over plain connections go through sendfile, all else is copied.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "fibrio/http/session.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"
#include "support/faults.hpp"
#include "support/net.hpp"
#include "support/temp_folder.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using fibrio::test::Fault;
using fibrio::test::kAlways;
using fibrio::test::ScopedSyscalls;

namespace {

constexpr std::size_t kLarge = 64U << 20;

// A folder with one file of random bytes.
class LargeFile {
 public:
  explicit LargeFile(std::size_t size) : content_(size, '\0') {
    const auto data = fibrio::net_test::test_data(size);
    std::memcpy(content_.data(), data.data(), size);
    std::ofstream(path(), std::ios::binary) << content_;
  }
  [[nodiscard]] const std::string& folder() const { return folder_.path(); }
  [[nodiscard]] std::string path() const { return folder_ / "large.bin"; }
  [[nodiscard]] const std::string& content() const { return content_; }

 private:
  const fibrio::test::TempFolder folder_;
  std::string content_;
};

ServerThread::Setup serving(const LargeFile& file) {
  return [&file](http::Server& server) {
    server.files("/static", file.folder());
    server.route("GET", "/ping", [](http::Request&) { return http::Response("pong"); });
  };
}

// Counts the sendfile calls from its construction on; they go through. With the table that it stands in for.
class SendFileCount {
 public:
  SendFileCount() {
    count_ = 0;
    fibrio::sys::syscalls.sendfile = [](int to, int from, off_t* offset, std::size_t bytes) {
      count_.fetch_add(1, std::memory_order_relaxed);
      return fibrio::sys::real_syscalls.sendfile(to, from, offset, bytes);
    };
  }
  [[nodiscard]] int take() const { return count_.exchange(0, std::memory_order_relaxed); }

 private:
  const ScopedSyscalls table_;
  static inline std::atomic<int> count_{0};
};

// The body of an answer in chunks that ends its connection.
std::string without_chunks(const Reply& reply, Client& client) {
  REQUIRE(reply.field("Transfer-Encoding") == "chunked");
  const auto received = client.receive_all();
  REQUIRE(received);
  std::string body;
  for (std::string_view rest = *received;;) {
    std::size_t used = 0;
    const std::size_t size = std::stoul(std::string(rest.substr(0, 16)), &used, 16);
    if (size == 0) return body;
    body += rest.substr(used + 2, size);
    rest.remove_prefix(used + 2 + size + 2);
  }
}

// An open file for handlers, closed when the last one has gone.
std::shared_ptr<const int> open_shared(const std::string& path) {
  return {new int(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), [](const int* fd) {
            ::close(*fd);
            delete fd;
          }};
}

}  // namespace

TEST_CASE("A large file goes out by sendfile, whole and in ranges, on kept connections", "[http]") {
  const LargeFile file(kLarge);
  const SendFileCount sent;
  for (const std::size_t workers : {1U, 2U, 4U}) {
    CAPTURE(workers);
    ServerThread server(serving(file), {}, workers);
    Client client(server.port());
    const Reply whole = client.ask(get("/static/large.bin"));
    CHECK(whole.field("Content-Length") == std::to_string(kLarge));
    CHECK((whole.body == file.content()));
    CHECK(sent.take() >= static_cast<int>(kLarge / (1U << 20)));
    const std::size_t middle = kLarge / 2;
    const Reply part =
        client.ask(get("/static/large.bin", "Range: bytes=1-" + std::to_string(middle) + "\r\n"));
    CHECK(part.status == 206);
    CHECK((part.body == file.content().substr(1, middle)));
    CHECK(sent.take() > 0);
    CHECK(client.ask("HEAD /static/large.bin HTTP/1.1\r\nHost: t\r\n\r\n", true).field("Content-Length") ==
          std::to_string(kLarge));
    const std::string etag = whole.field("ETag");
    CHECK(client.ask(get("/static/large.bin", "If-None-Match: " + etag + "\r\n")).status == 304);
    CHECK(sent.take() == 0);
    // A pipeline keeps its order.
    CHECK(client.send(get("/ping") + get("/static/large.bin", "Range: bytes=-100000\r\n") + get("/ping")));
    CHECK(client.receive().body == "pong");
    CHECK((client.receive().body == file.content().substr(kLarge - 100'000)));
    CHECK(client.receive().body == "pong");
  }
}

TEST_CASE("What is no plain connection gets files copied", "[http]") {
  const LargeFile file(1'000'000);
  const SendFileCount sent;
  http::ServerOptions options;
  options.make_stream = [](fibrio::TcpStream stream) { return fibrio::make_byte_stream(std::move(stream)); };
  ServerThread server(serving(file), std::move(options));
  Client client(server.port());
  CHECK((client.ask(get("/static/large.bin")).body == file.content()));
  CHECK((client.ask(get("/static/large.bin", "Range: bytes=5-900004\r\n")).body ==
         file.content().substr(5, 900'000)));
  CHECK(sent.take() == 0);
}

TEST_CASE("Files are copied where the kernel refuses to send them", "[http][fault]") {
  const LargeFile file(kLarge);
  const ScopedSyscalls table;
  Fault<&fibrio::sys::Syscalls::sendfile> fault;
  ServerThread server(serving(file));
  Client client(server.port());
  for (const int error : {EINVAL, ENOSYS}) {
    fault.arm(-error, {.times = kAlways});
    CHECK((client.ask(get("/static/large.bin")).body == file.content()));
    CHECK(fault.hits() > 0);
  }
  fault.arm(-EINTR, {.first = 2, .times = 3});
  CHECK((client.ask(get("/static/large.bin")).body == file.content()));
  CHECK(fault.hits() == 3);
}

TEST_CASE("A file that cannot be read ends its connection, is told, and harms no other one",
          "[http][fault]") {
  const LargeFile file(kLarge);
  const ScopedSyscalls table;
  Fault<&fibrio::sys::Syscalls::sendfile> fault;
  ServerThread server(serving(file));
  Client other(server.port());
  Client client(server.port());
  fault.arm(-EIO, {.first = 2, .times = 1});
  CHECK(client.send(get("/static/large.bin")));
  const auto received = client.receive_all();
  REQUIRE(received);
  CHECK(received->size() < file.content().size());
  const auto reports = server.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].find("sendfile") != std::string::npos);
  CHECK((other.ask(get("/static/large.bin")).body == file.content()));
}

TEST_CASE("A file that is cut while it is sent ends its connection, and never with a whole answer",
          "[http]") {
  const LargeFile file(kLarge);
  ServerThread server(serving(file));
  Client client(server.port());
  CHECK(client.send(get("/static/large.bin")));
  REQUIRE(client.has_input_within(patience()));
  REQUIRE(::truncate(file.path().c_str(), 100) == 0);  // far more than the sockets hold is still to come
  const auto received = client.receive_all();
  REQUIRE(received);
  CHECK(received->find("Content-Length: " + std::to_string(kLarge) + "\r\n") != std::string::npos);
  CHECK(received->size() < kLarge);
  CHECK(eventually([&] { return server.server().stats().connections == 0; }));
  const auto reports = server.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].find("less than its stream_length") != std::string::npos);
}

TEST_CASE("Clients that do not read a large file stop nobody else, and are dropped in time", "[http]") {
  const LargeFile file(kLarge);
  http::ServerOptions options;
  options.write_timeout = 300ms;
  for (const std::size_t workers : {1U, 2U, 4U}) {
    CAPTURE(workers);
    ServerThread server(serving(file), options, workers);
    std::vector<Client> sleepers;
    for (int i = 0; i < 10; ++i) {
      sleepers.emplace_back(server.port());
      CHECK(sleepers.back().send(get("/static/large.bin")));
    }
    Client client(server.port());
    for (int i = 0; i < 100; ++i) CHECK(client.ask(get("/ping")).body == "pong");
    CHECK(eventually([&] { return server.server().stats().connections == 1; }));
    for (Client& sleeper : sleepers) {
      const auto received = sleeper.receive_all();
      CHECK((!received || received->size() < kLarge));
    }
    CHECK(client.ask(get("/ping")).body == "pong");
  }
}

TEST_CASE("Resets and a shutdown in the middle of a large file leave nothing behind", "[http]") {
  const LargeFile file(kLarge);
  for (const std::size_t workers : {1U, 2U, 4U}) {
    CAPTURE(workers);
    ServerThread server(serving(file), {}, workers);
    for (int i = 0; i < 10; ++i) {
      Client client(server.port());
      client.send(get("/static/large.bin"));
      REQUIRE(client.has_input_within(patience()));
      client.reset();
    }
    CHECK(eventually([&] { return server.server().stats().connections == 0; }));
    Client client(server.port());
    client.send(get("/static/large.bin"));
    REQUIRE(client.has_input_within(patience()));
    server.stop(0s);  // cancels it; looks for what is left
    CHECK(server.server().stats().dropped == 1);
    const auto received = client.receive_all();
    CHECK((!received || received->size() < kLarge));
  }
}

TEST_CASE("Handlers and requests send files of their own: by length, in chunks, over an upgraded connection",
          "[http]") {
  const LargeFile file(1'000'000);
  const SendFileCount sent;
  const auto fd = open_shared(file.path());
  std::atomic<std::uint64_t> returned{0};
  ServerThread server([&](http::Server& s) {
    s.route("GET", "/length", [fd, &returned](http::Request&) {
      http::Response response;
      response.stream = [fd, &returned](http::BodyWriter& out) {
        out.write("<");
        returned = out.send_file(*fd, 10, 500'000);
        out.write(">");
      };
      response.stream_length = 500'002;
      return response;
    });
    s.route("GET", "/chunks", [fd](http::Request&) {
      http::Response response;
      response.stream = [fd](http::BodyWriter& out) {
        out.write("<");
        out.send_file(*fd, 0, fibrio::kToEndOfFile);
        out.write(">");
      };
      return response;
    });
    s.route("GET", "/too-much", [fd](http::Request&) {
      http::Response response;
      response.stream = [fd](http::BodyWriter& out) { out.send_file(*fd, 0, 11); };
      response.stream_length = 10;
      return response;
    });
    s.route("GET", "/upgrade", [fd](http::Request&) {
      http::Response response(101);
      response.upgrade = [fd](fibrio::ByteStream& stream) { stream.send_file(*fd); };
      return response;
    });
    s.route("POST", "/count", [](http::Request& request) {
      return http::Response(request.read_all() == std::string(1'000'000, 'u') ? "equal" : "different");
    });
  });
  Client client(server.port());
  CHECK((client.ask(get("/length")).body == "<" + file.content().substr(10, 500'000) + ">"));
  CHECK(returned == 500'000);
  CHECK(sent.take() > 0);
  CHECK((without_chunks(client.ask(get("/chunks", "Connection: close\r\n"), true), client) ==
         "<" + file.content() + ">"));
  CHECK(sent.take() == 0);
  Client old(server.port());
  CHECK(old.send("GET /chunks HTTP/1.0\r\n\r\n"));  // to the end of the connection, so without chunks
  const auto whole = old.receive_all();
  REQUIRE(whole);
  CHECK(whole->ends_with("<" + file.content() + ">"));
  CHECK(sent.take() > 0);
  Client upgraded(server.port());
  CHECK(upgraded.send(get("/upgrade", "Connection: Upgrade\r\nUpgrade: x\r\n")));
  const auto raw = upgraded.receive_all();
  REQUIRE(raw);
  CHECK(raw->ends_with("\r\n\r\n" + file.content()));
  CHECK(sent.take() > 0);
  Client greedy(server.port());
  CHECK(greedy.send(get("/too-much")));
  REQUIRE(greedy.receive_all());
  const auto reports = server.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].find("more than its stream_length") != std::string::npos);
}

TEST_CASE("A request's stream sends a file", "[http]") {
  const LargeFile file(1'000'000);
  const auto fd = open_shared(file.path());
  fibrio::net_test::on_loops([&] {
    http::Server server;
    server.route("POST", "/echo", [](http::Request& request) { return http::Response(request.read_all()); });
    server.listen(fibrio::net_test::loopback());
    auto serving_task = fibrio::create_task([&] { server.serve(); });
    const std::string url = "http://" + server.addresses()[0].to_string() + "/echo";
    http::Session session;
    for (const bool is_chunked : {false, true}) {
      http::RequestOptions request;
      request.stream = [fd](http::BodyWriter& out) { out.send_file(*fd, 1, 900'000); };
      if (!is_chunked) request.stream_length = 900'000;
      const std::string back = session.request("POST", url, request).read_all();
      fibrio::net_test::expect(back == file.content().substr(1, 900'000), "the file's part comes back");
    }
    session.close();
    server.shutdown(5s);
    fibrio::await(serving_task);
  });
}
