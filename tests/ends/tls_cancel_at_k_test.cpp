// cancel-at-k over TLS in memory: handshake, reads, writes and the end.
#include <array>
#include <memory>
#include <string>
#include <system_error>

#include "ends/cancel_at_k.hpp"
#include "fibrio/testing.hpp"
#include "fibrio/tls.hpp"
#include "support/tls.hpp"

namespace {

using namespace fibrio;
using namespace fibrio::test;

constexpr StreamPairOptions kNarrow{.latency = 1ms, .capacity = 700, .max_read = 500};

struct Contexts {
  tls::Context server = tls::Context::server(tls_test::server_options());
  tls::Context client = tls::Context::client(tls_test::client_options());
};
const Contexts& contexts() {
  static const Contexts contexts;
  return contexts;
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string read_rest(ByteStream& stream) {
  std::string all;
  std::array<char, 256> buffer;
  while (const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(buffer)))) {
    all.append(buffer.data(), count);
  }
  return all;
}

std::unique_ptr<ByteStream> shake(std::unique_ptr<ByteStream> transport, bool is_client) {
  return is_client ? tls::handshake(std::move(transport), contexts().client, "localhost")
                   : tls::accept(std::move(transport), contexts().server);
}

void use_tls(Attempt& attempt, bool is_client) {
  const std::string sent(1000, 's');
  const std::string answered(1000, 'a');
  StreamPair pair = make_stream_pair(kNarrow);
  bool peer_is_well = false;
  Task<std::string> peer = create_task([&, transport = std::move(pair.second)]() mutable {
    std::string got;
    try {
      const std::unique_ptr<ByteStream> stream = shake(std::move(transport), !is_client);
      std::array<char, 256> buffer;
      while (got.size() < sent.size()) {
        const std::size_t count = stream->read_some(std::as_writable_bytes(std::span(buffer)));
        if (count == 0) return got;
        got.append(buffer.data(), count);
      }
      stream->write_all(bytes(answered));
      stream->end_output();
      peer_is_well = read_rest(*stream).empty();
    } catch (const std::system_error&) {
      // Cut off, and it says so.
    }
    return got;
  });
  std::string got;
  const Ended ended =
      attempt.run([&, transport = std::make_shared<std::unique_ptr<ByteStream>>(std::move(pair.first))] {
        const std::unique_ptr<ByteStream> stream = shake(std::move(*transport), is_client);
        stream->write_all(bytes(sent));
        got = read_rest(*stream);
        stream->end_output();
      });
  const std::string arrived = await(peer);
  sleep(1min);  // what was taken is sent in the background; that has a limit
  TASK_CHECK(sent.starts_with(arrived) && answered.starts_with(got));
  TASK_CHECK(ended != Ended::kWell || (arrived == sent && got == answered && peer_is_well));
}
void use_client(Attempt& attempt) { use_tls(attempt, true); }
void use_server(Attempt& attempt) { use_tls(attempt, false); }

// A read that is cancelled loses nothing, and the stream goes on.
void use_reads(Attempt& attempt) {
  const std::string sent(3000, 's');
  StreamPair pair = make_stream_pair(kNarrow);
  Task<> peer = create_task([&, transport = std::move(pair.second)]() mutable {
    const std::unique_ptr<ByteStream> stream = shake(std::move(transport), false);
    stream->write_all(bytes(sent));
    stream->end_output();
    TASK_CHECK(read_rest(*stream).empty());
  });
  const std::unique_ptr<ByteStream> stream = shake(std::move(pair.first), true);
  std::string got;
  const auto read = [&] {
    std::array<char, 256> buffer;
    while (const std::size_t count = stream->read_some(std::as_writable_bytes(std::span(buffer)))) {
      got.append(buffer.data(), count);
    }
  };
  attempt.run(read);
  read();
  TASK_CHECK(got == sent);
  stream->end_output();
  await(peer);
}

}  // namespace

TEST_CASE("cancel-at-k: TLS delivers a prefix, and a read that is cancelled loses nothing", "[ends]") {
  static constexpr CancelScript kScripts[] = {
      {"tls, client", use_client},
      {"tls, server", use_server},
      {"tls, reads", use_reads},
  };
  sweep("cancel_at_k_tls", kScripts);
}
