// What comes on a kept connection without having been asked for is nobody's answer.
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <string>

#include "http/ends_streams.hpp"

using namespace http_test;

namespace {

// A server that sends `unasked` behind its first answer, and says when it is on its way.
struct Unasked {
  explicit Unasked(std::function<void(ByteStream&)> more, std::function<AnyStream(TcpStream)> open)
      : peer(
            [this, more](ByteStream& stream, int number) {
              for (int i = 0; !read_header(stream).empty(); ++i) {
                if (i > 0 || number > 0) {
                  stream.write_all(bytes_in(ok("next")));
                  continue;
                }
                more(stream);
                // Until it has come to the client: on a busy machine that is later than the write.
                for (int left = 1; left > 0; sleep(1ms)) {
                  if (::ioctl(stream.native_handle(), SIOCOUTQ, &left) != 0) break;
                }
                is_sent.set();
              }
            },
            std::move(open)) {}
  Event is_sent;
  Peer peer;
};

void expect_own_answers(Unasked& server, http::SessionOptions options, const std::string& scheme,
                        int connections) {
  http::Session session(std::move(options));
  const std::string url = server.peer.url(scheme);
  expect(session.get(url).read_all() == "first", "the first answer");
  server.is_sent.wait();
  for (int i = 0; i < 2; ++i) expect(session.get(url).read_all() == "next", "its own answer");
  expect_equal(server.peer.connections(), connections, "connections of " + scheme);
}

void two_records(ByteStream& stream) { stream.write_all(bytes_in(ok("first")), bytes_in(ok("POISONED"))); }
void two_writes(ByteStream& stream) {
  stream.write_all(bytes_in(ok("first")));
  stream.write_all(bytes_in(ok("POISONED")));
}
AnyStream wrapped_tls(TcpStream stream, const http::Url& url) {
  return std::make_unique<Forwarding>(connect_tls(std::move(stream), url));
}

// Keeps the end of what is written to itself, once it is told to.
class HoldsBack final : public Forwarding {
 public:
  using Forwarding::Forwarding;
  std::size_t write_some(std::span<const std::byte> data) override {
    if (holds.load() && data.size() > 3) {
      (void)Forwarding::write_some(data.first(data.size() - 3));
      return data.size();
    }
    return Forwarding::write_some(data);
  }
  std::size_t try_write_some(std::span<const std::byte> data) override { return write_some(data); }
  std::atomic<bool> holds{false};
};

}  // namespace

TEST_CASE("What a server sends unasked is not the answer to the next request", "[http]") {
  on_loops([] {
    const auto plain = [](TcpStream stream) { return make_byte_stream(std::move(stream)); };
    for (const auto& more : {two_records, two_writes}) {
      Unasked over_tcp(more, plain);
      expect_own_answers(over_tcp, {}, "http", 2);
      Unasked over_tls(more, accept_tls);
      expect_own_answers(over_tls, {.make_secure = connect_tls}, "https", 2);
      Unasked behind_a_wrapper(more, accept_tls);
      expect_own_answers(behind_a_wrapper, {.make_secure = wrapped_tls}, "https", 2);
    }
  });
}

TEST_CASE("A part of a record that came unasked ends a kept connection", "[http]") {
  on_loops([] {
    HoldsBack* transport = nullptr;
    const tls::Context context = tls::Context::server(server_options());
    Unasked server(
        [&transport](ByteStream& stream) {
          stream.write_all(bytes_in(ok("first")));
          transport->holds = true;
          stream.write_all(bytes_in(ok("POISONED")));
          transport->holds = false;
        },
        [&](TcpStream stream) {
          auto held = std::make_unique<HoldsBack>(make_byte_stream(std::move(stream)));
          if (transport == nullptr) transport = held.get();
          return tls::accept(std::move(held), context);
        });
    expect_own_answers(server, {.make_secure = connect_tls}, "https", 2);
  });
}

TEST_CASE("The tickets of TLS do not end a kept connection", "[http]") {
  on_loops([] {
    for (const bool is_wrapped : {false, true}) {
      Unasked server([](ByteStream& stream) { stream.write_all(bytes_in(ok("first"))); }, accept_tls);
      expect_own_answers(server, {.make_secure = is_wrapped ? wrapped_tls : connect_tls}, "https", 1);
    }
  });
}
