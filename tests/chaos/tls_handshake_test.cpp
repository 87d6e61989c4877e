// A proxy ends the connection behind every byte of the handshake, and of what is said after it, by an end, by a close,
// by a reset: each side that misses something throws, and says what its documentation says.
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "chaos/proxy.hpp"
#include "chaos/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;
using chaos::Cut;
using chaos::Direction;
using chaos::Fault;

namespace {

constexpr std::string_view kQuestion = "the question";
constexpr std::string_view kAnswer = "the answer";
constexpr Duration kPatience = 30s * fibrio::test::kSlowdown;

// What a side has seen: all of it, or an error.
enum class Seen { kAll, kNoHandshake, kNoEnd };

struct Conversation {
  tls::Context client;
  tls::Context server;

  // Asks, reads the answer up to its end, and ends too.
  [[nodiscard]] Seen ask(std::uint16_t port) const {
    std::unique_ptr<tls::Stream> stream;
    const Seen seen = watch(
        stream,
        [&] {
          stream = tls::handshake(make_byte_stream(TcpStream::connect("127.0.0.1", port)), client,
                                  "localhost", {.handshake_timeout = kPatience});
        },
        [&] {
          write_text(*stream, kQuestion);
          expect(read_exactly(*stream, kAnswer.size() + 1) == kAnswer,
                 "an end comes behind the whole answer");
          stream->shutdown();
        });
    if (stream) stream->abort();
    return seen;
  }
  // Reads the question, answers and ends.
  [[nodiscard]] Seen answer(TcpStream tcp) const {
    std::unique_ptr<tls::Stream> stream;
    const Seen seen = watch(
        stream,
        [&] {
          stream = tls::accept(make_byte_stream(std::move(tcp)), server, {.handshake_timeout = kPatience});
        },
        [&] {
          expect(read_exactly(*stream, kQuestion.size()) == kQuestion, "the question");
          write_text(*stream, kAnswer);
          stream->shutdown();
        });
    if (stream) stream->abort();
    return seen;
  }

 private:
  template <class Handshake, class Rest>
  static Seen watch(const std::unique_ptr<tls::Stream>& stream, Handshake shake_hands, Rest rest) {
    try {
      shake_hands();
      rest();
      return Seen::kAll;
    } catch (const tls::TruncatedError&) {
      expect(stream != nullptr, "in a handshake an end is ECONNRESET");
    } catch (const std::system_error& error) {
      const int code = error.code().value();
      expect(error.code().category() == std::system_category() && (code == ECONNRESET || code == EPIPE),
             std::string("the error of a reset, not: ") + error.what());
    }
    return stream ? Seen::kNoEnd : Seen::kNoHandshake;
  }
};

struct Lengths {
  std::uint64_t up = 0;
  std::uint64_t down = 0;
};

// Cuts behind every `step`th byte of both directions.
void cut_everywhere(tls::Version version, Fault fault, std::uint64_t step) {
  tls::ClientOptions client_side = client_options();
  client_side.kept_sessions = 0;
  client_side.max_version = version;
  const Conversation conversation{tls::Context::client(client_side), tls::Context::server(server_options())};
  TcpListener listener = TcpListener::bind(loopback());
  std::mutex lock;  // the proxy asks on any worker
  std::optional<Cut> cut;
  chaos::Proxy proxy(listener.local_address().port(), {.cut = [&](std::uint64_t) {
                       const std::lock_guard guard(lock);
                       return cut.value_or(Cut{.at = ~std::uint64_t{0}});
                     }});
  const auto converse = [&] {
    auto answering = create_task([&] { return conversation.answer(listener.accept()); });
    const Seen at_client = conversation.ask(proxy.port());
    return std::pair(at_client, await(answering));
  };

  // How many bytes there are: nobody is cut off.
  expect(converse() == std::pair(Seen::kAll, Seen::kAll), "a conversation without a cut");
  const std::uint64_t all = proxy.counts().bytes;
  std::size_t no_handshake = 0;
  std::size_t no_end = 0;
  std::size_t whole = 0;
  for (const Direction direction : {Direction::kUp, Direction::kDown}) {
    for (std::uint64_t at = 0; at < all; at += step) {
      {
        const std::lock_guard guard(lock);
        cut = Cut{direction, at, fault};
      }
      const std::uint64_t before = proxy.counts().of(fault);
      const auto [at_client, at_server] = converse();
      if (proxy.counts().of(fault) == before) break;  // so many bytes never came
      const Seen receiver = direction == Direction::kUp ? at_server : at_client;
      const std::string where = std::to_string(at) + (direction == Direction::kUp ? " up" : " down");
      no_handshake += receiver == Seen::kNoHandshake ? 1 : 0;
      no_end += receiver == Seen::kNoEnd ? 1 : 0;
      whole += receiver == Seen::kAll ? 1 : 0;
      if (at == 0) expect(receiver == Seen::kNoHandshake, "without a byte there is no handshake: " + where);
    }
  }
  const std::string counts = std::to_string(no_handshake) + " without handshake, " + std::to_string(no_end) +
                             " without an end, " + std::to_string(whole) + " whole";
  expect(no_handshake >= 1000 / step && no_end >= 20 / step, counts);
  // Behind the last byte there is nothing to miss; and a close_notify that nobody waits for may be missed.
  expect(whole <= 80 / step + 4, counts);
  proxy.wait_closed();
}

}  // namespace

TEST_CASE("TLS 1.3 that is cut off behind any byte fails on the side that misses something", "[chaos]") {
  on_loop({2, false}, [] { cut_everywhere(tls::Version::kTls13, Fault::kHalfClose, 1 * kSlowdown); });
  on_loop({2, false}, [] { cut_everywhere(tls::Version::kTls13, Fault::kReset, 1 * kSlowdown); });
  on_loops([] {
    cut_everywhere(tls::Version::kTls13, Fault::kHalfClose, 23 * kSlowdown);
    cut_everywhere(tls::Version::kTls13, Fault::kReset, 19 * kSlowdown);
    cut_everywhere(tls::Version::kTls13, Fault::kClose, 17 * kSlowdown);
  });
}

TEST_CASE("TLS 1.2 that is cut off behind any byte fails on the side that misses something", "[chaos]") {
  on_loops([] {
    cut_everywhere(tls::Version::kTls12, Fault::kHalfClose, 17 * kSlowdown);
    cut_everywhere(tls::Version::kTls12, Fault::kReset, 13 * kSlowdown);
    cut_everywhere(tls::Version::kTls12, Fault::kClose, 19 * kSlowdown);
  });
}
