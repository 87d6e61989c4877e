// What a server takes is given back, and what strangers say beforehand costs nothing.
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "http/in_memory.hpp"
#include "http/request_access.hpp"
#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using http::Request;
using http::Response;

namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";

bool is_socket(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

// Gives what it says, and notes how much room it is offered.
class Source final : public http::detail::BodySource {
 public:
  explicit Source(std::size_t size) : left_(size) {}
  std::size_t read_body(std::span<std::byte> buffer) override {
    const std::size_t count = std::min({buffer.size(), left_, std::size_t{700}});
    most_beyond_ = std::max(most_beyond_, buffer.size() > read_ ? buffer.size() - read_ : 0);
    std::fill_n(buffer.begin(), count, std::byte{'x'});
    left_ -= count;
    read_ += count;
    return count;
  }
  [[nodiscard]] const fibrio::ByteStream& stream() const noexcept override { std::terminate(); }
  // By how much the room has exceeded what had been read by then.
  [[nodiscard]] std::size_t most_beyond() const { return most_beyond_; }

 private:
  std::size_t left_;
  std::size_t read_ = 0;
  std::size_t most_beyond_ = 0;
};

}  // namespace

TEST_CASE("read_all takes memory for what has come, not for what was announced", "[http][ends]") {
  for (const std::size_t size : {0, 1, 16384, 16385, 1'000'000}) {
    for (const std::uint64_t announced : {std::uint64_t{0}, std::uint64_t{1} << 20, std::uint64_t{1} << 60}) {
      CAPTURE(size, announced);
      Request request;
      Source source(size);
      http::detail::RequestAccess::set_source(request, source);
      if (announced > 0)
        http::detail::RequestAccess::content_length(request) = std::max<std::uint64_t>(announced, size);
      CHECK(request.read_all() == std::string(size, 'x'));
      CHECK(source.most_beyond() <= 16 * 1024);
    }
  }
}

TEST_CASE("A Unix listener serves any number of connections, and takes its file with it", "[http][ends]") {
  for (const std::size_t workers : {1, 2, 4}) {
    for (const bool is_replaced : {false, true}) {
      CAPTURE(workers, is_replaced);
      const fibrio::test::TempFolder folder;
      const std::string path = folder / "socket";
      http::Server server({.max_connections_per_peer = 3});
      server.route("GET", "/", [](Request&) { return Response("pong"); });
      std::vector<std::string> answers;
      bool was_there = false;
      bool is_bound = !is_replaced;
      fibrio::Config config;
      config.workers = workers;
      fibrio::run(
          [&] {
            server.listen(fibrio::Address::from_path(path));
            was_there = is_socket(path);
            fibrio::Task<> serving = fibrio::create_task([&] { server.serve(); });
            for (int i = 0; i < 8; ++i) {
              fibrio::UnixStream client = fibrio::UnixStream::connect(path);
              client.write_all(std::as_bytes(std::span(kGet)));
              auto stream = fibrio::make_byte_stream(std::move(client));
              answers.push_back(read_to_end(*stream).bytes.substr(0, 12));
            }
            if (is_replaced) {
              ::unlink(path.c_str());
              const int other = ::socket(AF_UNIX, SOCK_STREAM, 0);
              const fibrio::Address address = fibrio::Address::from_path(path);
              is_bound = ::bind(other, address.data(), address.size()) == 0;
              ::close(other);
            }
            server.shutdown(1s);
            serving.wait();
          },
          config);
      CHECK(answers == std::vector<std::string>(8, "HTTP/1.1 200"));
      CHECK(was_there);
      CHECK(is_bound);
      CHECK(is_socket(path) == is_replaced);
    }
  }
}

TEST_CASE("A connection that is refused is read for a moment and no longer", "[http][ends]") {
  http::detail::ServerState state({});
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const int watched = ::dup(ends[0]);
  const std::string flood(100'000, 'x');
  REQUIRE(::send(ends[1], flood.data(), flood.size(), 0) == static_cast<ssize_t>(flood.size()));
  fibrio::run([&] { http::refuse_connection(fibrio::TcpStream::adopt(ends[0]), state); });
  std::string left(flood.size(), '\0');
  const ssize_t count = ::recv(watched, left.data(), left.size(), MSG_DONTWAIT);
  CHECK(count > static_cast<ssize_t>(flood.size() - 20'000));
  std::string answer(4096, '\0');
  answer.resize(static_cast<std::size_t>(::recv(ends[1], answer.data(), answer.size(), MSG_DONTWAIT)));
  CHECK(answer.starts_with("HTTP/1.1 503 "));
  CHECK(answer.ends_with("503 Service Unavailable: too many connections\n"));
  ::close(watched);
  ::close(ends[1]);
}

TEST_CASE("A connection that was forgotten is not shut down", "[http][ends]") {
  http::ConnectionTable table({});
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  fibrio::run([&] {
    http::ConnectionTable::Entry entry(table);
    entry.set_socket(ends[0]);
    entry.enter(http::ConnectionTable::Phase::kIdle);
    entry.forget_socket();
    table.stop_idle();
    CHECK_FALSE(entry.is_stopped());
  });
  CHECK(::send(ends[1], "x", 1, MSG_NOSIGNAL) == 1);
  ::close(ends[0]);
  ::close(ends[1]);
}
