// Frames and lines through a chaos proxy: what a reader returns is whole and in its place, or it throws.
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <vector>

#include "chaos/message.hpp"
#include "chaos/proxy.hpp"
#include "chaos/storm.hpp"
#include "chaos/work.hpp"
#include "support/net_loops.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using chaos::Random;

namespace {

constexpr std::size_t kMostBytes = 32 * 1024;
constexpr std::string_view kEnd = "\r\n.\r\n";

// "number size" and the data that belongs to both, by its length or up to a separator.
std::string frame_of(std::uint64_t number, std::size_t bytes) {
  const std::string data = chaos::data_of(number, bytes);
  return std::to_string(number) + " " + std::to_string(bytes) + "\n" + data;
}
std::string text_of(std::uint64_t number, std::size_t bytes) {
  std::string text;
  for (const char byte : chaos::data_of(number, bytes)) text += static_cast<char>('a' + (byte & 15));
  return std::to_string(number) + " " + text + std::string(kEnd);
}

struct Head {
  std::uint64_t number;
  std::size_t bytes;
};
Head parse_head(const std::string& line) {
  const std::size_t space = line.find(' ');
  const auto number = chaos::parse_number(std::string_view(line).substr(0, space));
  const auto bytes = chaos::parse_number(std::string_view(line).substr(space + 1, line.size() - space - 2));
  expect(number && bytes, "a frame's head, not: " + line);
  return {*number, *bytes};
}

// Sends back what comes whole: an odd number as a frame, an even one as a text.
void serve(StreamReader& reader, StreamWriter& writer) {
  try {
    for (;;) {
      const std::string kind = reader.readexactly(1);
      if (kind == "f") {
        const std::string line = reader.readline();
        if (!line.ends_with('\n')) return;
        const Head head = parse_head(line);
        const std::string data = reader.readexactly(head.bytes);
        expect(data == chaos::data_of(head.number, head.bytes), "the frame that was sent");
        writer.write(line + data);
      } else {
        expect(kind == "t", "a kind of message");
        writer.write(reader.readuntil(kEnd));
      }
      writer.drain();
    }
  } catch (const IncompleteReadError&) {
  } catch (const std::system_error&) {
  }
}

struct Tally {
  std::atomic<std::uint64_t> whole{0};
  std::atomic<std::uint64_t> cut{0};
  std::atomic<std::uint64_t> lost{0};
};

// One message there and back; several may be on their way.
void converse(Streams& streams, Random& random, std::uint64_t first, Tally& tally) {
  auto& [reader, writer] = streams;
  std::vector<std::string> sent;
  for (std::uint64_t number = first; number < first + 4; ++number) {
    const std::size_t bytes = random.any_size(kMostBytes) - 1;
    const bool is_frame = random.one_in(2);
    sent.push_back(is_frame ? frame_of(number, bytes) : text_of(number, bytes));
    writer.write((is_frame ? "f" : "t") + sent.back());
  }
  writer.drain();
  for (const std::string& wanted : sent) {
    const std::string back =
        wanted.ends_with(kEnd) ? reader.readuntil(kEnd) : reader.readexactly(wanted.size());
    expect(back == wanted, "what was sent comes back");
    tally.whole += 1;
  }
}

void ask(std::uint16_t port, std::uint64_t seed, std::uint64_t client, int rounds, Tally& tally) {
  Random random(seed, client);
  for (int round = 0; round < rounds;) {
    try {
      Streams streams = open_connection("127.0.0.1", port);
      for (; round < rounds; ++round) {
        converse(streams, random, (client * 1'000'000) + static_cast<std::uint64_t>(round) * 4, tally);
      }
      streams.second.close();
      streams.second.wait_closed();
    } catch (const IncompleteReadError&) {
      tally.cut += 1;
      ++round;
    } catch (const std::system_error&) {
      tally.lost += 1;
      ++round;
    }
  }
}

}  // namespace

TEST_CASE("Frames and lines through a chaos proxy come whole, or a reader throws", "[chaos]") {
  Tally tally;
  std::uint64_t seed = 400;
  on_loops([&] {
    ++seed;
    Server server = start_server(serve, "127.0.0.1", 0, {.limit = 2 * kMostBytes});
    chaos::Proxy proxy(server.sockets()[0].port(), {.seed = seed});
    std::vector<Task<>> clients;
    for (std::uint64_t i = 0; i < 32; ++i) {
      clients.push_back(create_task([&, i] { ask(proxy.port(), seed, i, 40 / kSlowdown, tally); }));
    }
    chaos::with_seed(seed, [&] {
      for (auto& client : clients) await(client);
    });
    proxy.wait_closed();
    server.close();
    server.wait_closed();
    expect_equal(server.connections(), 0, "connections left");
  });
  INFO("whole " << tally.whole << ", cut " << tally.cut << ", lost " << tally.lost);
  CHECK(tally.whole > 1000 / kSlowdown);
  CHECK(tally.cut > 0);
  CHECK(tally.lost > 0);
}
