// cancel-at-k over streams in memory, on virtual time: what arrives is always a prefix of what was meant, in order.
#include <array>
#include <memory>
#include <string>
#include <utility>

#include "ends/cancel_at_k.hpp"
#include "fibrio/streams.hpp"
#include "fibrio/testing.hpp"

namespace {

using namespace fibrio;
using namespace fibrio::test;

const std::string kText = "one\ntwo\nthree\nfour\nfive\n";
constexpr StreamPairOptions kNarrow{.latency = 1ms, .capacity = 6, .max_read = 4, .max_write = 5};

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string read_some(ByteStream& stream) {
  std::array<char, 8> buffer;
  return {buffer.data(), stream.read_some(std::as_writable_bytes(std::span(buffer)))};
}
std::string read_rest(ByteStream& stream) {
  std::string all;
  for (std::string part = read_some(stream); !part.empty(); part = read_some(stream)) all += part;
  return all;
}

void use_read_some(Attempt& attempt) {
  StreamPair pair = make_stream_pair(kNarrow);
  Task<> writer = create_task([&] {
    pair.first->write_all(bytes(kText));
    pair.first->shutdown_write();
  });
  std::string got;
  attempt.run([&] {
    for (std::string part = read_some(*pair.second); !part.empty(); part = read_some(*pair.second))
      got += part;
  });
  got += read_rest(*pair.second);  // nothing was lost, nothing comes twice
  TASK_CHECK(got == kText);
  await(writer);
}

void use_write_some(Attempt& attempt) {
  StreamPair pair = make_stream_pair(kNarrow);
  Task<std::string> reader = create_task([&] { return read_rest(*pair.second); });
  std::string_view left = kText;
  attempt.run([&] {
    while (!left.empty()) left.remove_prefix(pair.first->write_some(bytes(left)));
  });
  pair.first->write_all(bytes(left));
  pair.first.reset();
  TASK_CHECK(await(reader) == kText);
}

void use_write_all(Attempt& attempt) {
  StreamPair pair = make_stream_pair(kNarrow);
  Task<std::string> reader = create_task([&] { return read_rest(*pair.second); });
  const Ended ended = attempt.run([&] { pair.first->write_all(bytes(kText)); });
  pair.first.reset();
  const std::string got = await(reader);
  TASK_CHECK(kText.starts_with(got));
  TASK_CHECK(ended != Ended::kWell || got == kText);
}

// The calls of a reader, one after the other, over what comes in pieces.
template <class Read>
void use_reader(Attempt& attempt, Read read) {
  StreamPair pair = make_stream_pair(kNarrow);
  Task<> peer = create_task([&] {
    pair.first->write_all(bytes(kText));
    pair.first->shutdown_write();
  });
  auto [reader, writer] = make_streams(std::move(pair.second));
  std::string got;
  const auto all = [&, &input = reader] {
    for (std::string part = read(input); !part.empty(); part = read(input)) got += part;
  };
  attempt.run(all);
  all();
  TASK_CHECK(got == kText);
  await(peer);
  writer.close();
  writer.wait_closed();
}
void use_readline(Attempt& attempt) {
  use_reader(attempt, [](StreamReader& reader) { return reader.readline(); });
}
void use_read(Attempt& attempt) {
  use_reader(attempt, [](StreamReader& reader) { return reader.read(5); });
}
void use_read_to_end(Attempt& attempt) {
  use_reader(attempt, [](StreamReader& reader) { return reader.read(); });
}
void use_readuntil(Attempt& attempt) {
  use_reader(attempt, [](StreamReader& reader) -> std::string {
    try {
      return reader.readuntil("e\n");
    } catch (const IncompleteReadError& error) {
      return error.partial();
    }
  });
}
void use_readexactly(Attempt& attempt) {
  use_reader(attempt, [](StreamReader& reader) -> std::string {
    try {
      return reader.readexactly(7);
    } catch (const IncompleteReadError& error) {
      return error.partial();
    }
  });
}

// What was written is sent whether or not the one who drains is cancelled.
void use_writer(Attempt& attempt) {
  StreamPair pair = make_stream_pair(kNarrow);
  Task<std::string> peer = create_task([&] { return read_rest(*pair.second); });
  auto [reader, writer] = make_streams(std::move(pair.first));
  writer.set_write_buffer_limits(4, 1);
  std::string written;
  attempt.run([&, &output = writer] {
    for (std::size_t i = 0; i < kText.size(); i += 5) {
      written += kText.substr(i, 5);
      output.write(kText.substr(i, 5));
      output.drain();
    }
    output.close();
    output.wait_closed();
  });
  writer.close();
  TASK_CHECK(await(peer) == written);
  writer.wait_closed();
}

void use_replace_stream(Attempt& attempt) {
  StreamPair pair = make_stream_pair(kNarrow);
  Task<std::string> peer = create_task([&] { return read_rest(*pair.second); });
  auto [reader, writer] = make_streams(std::move(pair.first));
  const Ended ended = attempt.run([&, &output = writer] {
    output.write(kText);
    output.replace_stream([](std::unique_ptr<ByteStream> stream, const std::string&) {
      sleep(1ms);
      return stream;
    });
    output.write("end");
    output.drain();
  });
  writer.close();
  const std::string got = await(peer);
  TASK_CHECK((kText + "end").starts_with(got));
  TASK_CHECK(ended != Ended::kWell || got == kText + "end");
  try {
    writer.wait_closed();
  } catch (const std::exception&) {
    TASK_CHECK(ended != Ended::kWell);  // the connection was lost by the cancel inside
  } catch (const CancelledError&) {
    TASK_CHECK(ended != Ended::kWell);
  }
}

}  // namespace

TEST_CASE("cancel-at-k: streams lose and repeat nothing at any wait", "[ends]") {
  static constexpr CancelScript kScripts[] = {
      {"ByteStream::read_some", use_read_some},
      {"ByteStream::write_some", use_write_some},
      {"ByteStream::write_all", use_write_all},
      {"StreamReader::read", use_read},
      {"StreamReader::read to the end", use_read_to_end},
      {"StreamReader::readline", use_readline},
      {"StreamReader::readuntil", use_readuntil},
      {"StreamReader::readexactly", use_readexactly},
      {"StreamWriter", use_writer},
      {"StreamWriter::replace_stream", use_replace_stream},
  };
  sweep("cancel_at_k_streams", kScripts);
}
