// Messages of WebSockets through a chaos proxy: each comes whole and in its place, or the socket says that it broke.
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "chaos/proxy.hpp"
#include "chaos/storm.hpp"
#include "chaos/work.hpp"
#include "fibrio/http/server.hpp"
#include "fibrio/http/websocket.hpp"
#include "support/net_loops.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using chaos::Random;
using namespace std::chrono_literals;

namespace {

constexpr int kMessages = 6;  // on their way at a time
constexpr std::size_t kMostBytes = 20'000;

struct Tally {
  std::atomic<std::uint64_t> whole{0};
  std::atomic<std::uint64_t> broken{0};
  std::atomic<std::uint64_t> closed{0};
};

// What was left of the connection when a client looked is an error of these kinds.
template <class Call>
bool is_broken_by(Call&& call) {
  try {
    call();
    return false;
  } catch (const http::WebSocketError&) {
  } catch (const http::ClientError&) {  // the handshake
  } catch (const std::system_error&) {
  }
  return true;
}

// Sends while it receives: the answers come back in the order of the messages.
void converse(http::WebSocket& socket, Random& random, std::uint64_t first, Tally& tally) {
  std::vector<std::string> sent;
  for (std::uint64_t number = first; number < first + kMessages; ++number) {
    sent.push_back(std::to_string(number) + " " + chaos::data_of(number, random.any_size(kMostBytes)));
  }
  auto sending = create_task([&] {
    return is_broken_by([&] {
      for (const std::string& message : sent) {
        socket.send_binary(std::as_bytes(std::span(message)));
        if (message.size() % 4 == 0) socket.ping("are you there?");
      }
    });
  });
  const auto receive_all = [&] {
    for (const std::string& message : sent) {
      const auto back = socket.receive();
      // A server whose handler broke says so; it never ends in order before we do.
      if (!back && socket.close_code() == 1011) throw std::system_error(ECONNRESET, std::system_category());
      expect(back.has_value(), "a message, not an end with code " + std::to_string(socket.close_code()));
      expect(back->data == message && !back->is_text, "the message that was sent");
      tally.whole += 1;
    }
  };
  try {
    receive_all();
  } catch (...) {
    sending.cancel();  // nobody takes what it sends any more
    sending.wait();
    throw;
  }
  await(sending);
}

void talk(const std::string& url, std::uint64_t seed, std::uint64_t client, int rounds, Tally& tally) {
  Random random(seed, client);
  http::Session session;
  for (int round = 0; round < rounds;) {
    std::unique_ptr<http::WebSocket> socket;
    const bool is_broken = is_broken_by([&] {
      socket = http::connect_websocket(session, url, {.close_timeout = 200ms});
      for (int left = 20; left > 0 && round < rounds; --left, ++round) {
        converse(*socket, random, client * 1'000'000 + static_cast<std::uint64_t>(round) * kMessages, tally);
      }
      socket->close();
    });
    tally.broken += is_broken ? 1 : 0;
    tally.closed += !is_broken && socket->close_code() == 1000 ? 1 : 0;
    if (is_broken) ++round;
  }
}

}  // namespace

TEST_CASE("Messages of WebSockets through a chaos proxy come whole and in order, or the socket breaks",
          "[chaos]") {
  Tally tally;
  std::uint64_t seed = 500;
  const auto body = [&] {
    ++seed;
    http::Server server;
    server.route("GET", "/", [](http::Request& request) {
      return http::websocket_response(request,
                                      [](http::WebSocket& socket) {
                                        while (auto message = socket.receive()) socket.send(*message);
                                      },
                                      {.close_timeout = 200ms});
    });
    server.listen(Address::parse("127.0.0.1", 0));
    auto serving = create_task([&] { server.serve(); });
    chaos::Proxy proxy(server.addresses()[0].port(), {.seed = seed});
    const std::string url = "ws://127.0.0.1:" + std::to_string(proxy.port()) + "/";
    std::vector<Task<>> clients;
    for (std::uint64_t i = 0; i < 16; ++i) {
      clients.push_back(create_task([&, i] { talk(url, seed, i, 60 / kSlowdown, tally); }));
    }
    chaos::with_seed(seed, [&] {
      for (auto& client : clients) await(client);
    });
    server.shutdown(30s);
    await(serving);
    proxy.wait_closed();
    expect_equal(server.stats().connections, 0, "connections left");
  };
  on_loops(body, true);  // a handler that throws is reported
  INFO("whole " << tally.whole << ", broken " << tally.broken << ", closed " << tally.closed);
  CHECK(tally.whole > 1000 / kSlowdown);
  CHECK(tally.broken > 0);
  CHECK(tally.closed > 0);
}
