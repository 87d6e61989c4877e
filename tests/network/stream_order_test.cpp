// What a connection's two ends see, and in which order: asyncio's protocol guarantees, for streams.
#include <algorithm>
#include <random>

#include "support/streams.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

constexpr std::size_t kNoLimit = 64U << 20;

std::string random_text(std::mt19937& random, std::size_t bytes) {
  std::string text(bytes, '\0');
  for (char& byte : text) byte = "abc\n|"[random() % 5];
  return text;
}

// Reads by whatever call comes, up to the end.
std::string read_somehow(StreamReader& reader, std::mt19937& random) {
  std::string all;
  for (;;) {
    const std::size_t before = all.size();
    switch (random() % 6) {
      case 0:
        all += reader.read(static_cast<std::ptrdiff_t>(1 + random() % 5000));
        break;
      case 1:
        all += reader.readline();
        break;
      case 2: {
        std::string buffer(1 + random() % 100'000, '\0');
        buffer.resize(reader.read_some(bytes_of(buffer)));
        all += buffer;
        break;
      }
      case 3:
      case 4:
        try {
          const bool one = random() % 2 == 0;
          all += one ? reader.readexactly(1 + random() % 100'000) : reader.readuntil({"|", "cab", "\nb\n"});
        } catch (const IncompleteReadError& error) {
          all += error.partial();
        }
        break;
      default:
        if (random() % 20 == 0) all += reader.read();
        continue;
    }
    if (all.size() == before) {
      expect(reader.at_eof(), "an empty read only at the end");
      return all;
    }
  }
}

}  // namespace

TEST_CASE("Streams: any mix of writes is read as it was written by any mix of reads, both ways",
          "[streams]") {
  for (unsigned seed = 1; seed <= 6; ++seed) {
    INFO("seed " << seed);
    on_loops([&] {
      auto both = connect_streams(kNoLimit);
      auto& client = both.client;
      auto& server = both.server;
      const auto write_all_of = [](StreamWriter& writer, const std::string& text, unsigned own_seed) {
        std::mt19937 random(own_seed);
        for (std::string_view rest = text; !rest.empty();) {
          const std::string_view part = rest.substr(0, random() % (random() % 4 == 0 ? 300'000 : 300));
          writer.write(part);
          rest.remove_prefix(part.size());
          if (random() % 3 == 0) writer.drain();
          if (random() % 8 == 0) sleep(Duration(0));
        }
        writer.write_eof();
      };
      std::mt19937 random(seed);
      const std::string up = random_text(random, 2'000'000);
      const std::string down = random_text(random, 500'000);
      auto writing_up = create_task([&] { write_all_of(client.second, up, seed + 100); });
      auto writing_down = create_task([&] { write_all_of(server.second, down, seed + 200); });
      auto reading_down = create_task([&] {
        std::mt19937 own(seed + 300);
        return read_somehow(client.first, own);
      });
      expect(read_somehow(server.first, random) == up, "what the client wrote");
      expect(await(reading_down) == down, "what the server wrote");
      await(writing_up);
      await(writing_down);
    });
  }
}

TEST_CASE("Streams: cancelled reads, over and over, lose nothing", "[streams]") {
  on_loops([] {
    auto both = connect_streams(kNoLimit);
    auto& client = both.client;
    auto& server = both.server;
    std::mt19937 random(7);
    const std::string text = random_text(random, 300'000);
    auto writing = create_task([&] {
      for (std::string_view rest = text; !rest.empty();) {
        const std::string_view part = rest.substr(0, 500);
        client.second.write(part);
        rest.remove_prefix(part.size());
        sleep(Duration(0));
      }
      client.second.close();
    });
    std::string received;
    while (!server.first.at_eof()) {
      const bool by_separator = random() % 2 == 0;
      auto reading = create_task(
          [&] { received += by_separator ? server.first.readuntil("|") : server.first.readexactly(700); });
      if (random() % 2 == 0) sleep(Duration(0));
      reading.cancel();
      try {
        await(reading);
      } catch (const CancelledError&) {
      } catch (const IncompleteReadError& error) {
        received += error.partial();
      }
    }
    expect(received == text, "every byte, in order");
    await(writing);
  });
}

TEST_CASE("Streams: the order of events: connected, data, the end once, closed once", "[streams]") {
  on_loops([] {
    std::vector<std::string> events;  // of the handler's task, then of this one after wait_closed
    {
      Server server = start_server(
          [&](StreamReader& reader, StreamWriter& writer) {
            events.push_back("connected");
            for (const std::string& line : reader.lines()) events.push_back(line);
            expect_text(reader.read(1), "", "the end stays the end");
            events.push_back("end");
            writer.write("bye");
            writer.close();
            writer.wait_closed();
            writer.wait_closed();
            events.push_back("closed");
          },
          "127.0.0.1", 0);
      const Address address = server.sockets().at(0);
      auto [reader, writer] = open_connection(address.host(), address.port());
      writer.write("a\nb");
      writer.write("\nc");
      writer.write_eof();
      expect_text(reader.read(), "bye", "a half-closed connection's answer");
      server.close();
      server.wait_closed();
      wait_until([&] { return all_tasks().size() == 1; }, "the handler has ended");
    }
    std::string joined;
    for (const std::string& event : events) joined += event + ";";
    expect_text(joined, "connected;a\n;b\n;c;end;closed;", "events");
  });
}

TEST_CASE("Streams: a peer that reads slowly holds up its writer, nobody else", "[streams]") {
  on_loops([] {
    Server server = start_server(
        [](StreamReader& reader, StreamWriter& writer) {
          const std::string chunk(100'000, '.');
          for (std::string line; !(line = reader.readline()).empty();) {
            for (int i = 0; line == "much\n" && i < 200; ++i) {
              writer.write(chunk);
              writer.drain();
              expect(writer.write_buffer_size() <= chunk.size() + writer.write_buffer_limits().high,
                     "bounded");
            }
            writer.write("done\n");
          }
        },
        "127.0.0.1", 0);
    const Address address = server.sockets().at(0);
    auto slow = open_connection(address.host(), address.port());
    slow.second.write("much\n");
    let_others_wait();
    auto quick = open_connection(address.host(), address.port());
    for (int i = 0; i < 100; ++i) {
      quick.second.write("little\n");
      expect_text(quick.first.readline(), "done\n", "the answer");
    }
    slow.first.readexactly(200 * 100'000);
    expect_text(slow.first.readline(), "done\n", "all of it, in the end");
    slow.second.close();
    quick.second.close();
    server.close();
    server.wait_closed();
  });
}
