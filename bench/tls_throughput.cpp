// Question: how fast does one TLS connection carry bulk data, beside the same transfer without TLS? One task
// writes pieces of 256 KiB, one reads; both sides are in one loop, so CPU time is that of both sides together.
// Unit: bytes per second. Good: close to what two cores (one with one worker) encrypt and decrypt,
// `openssl speed -evp aes-256-gcm`, less what the plain transfer takes. Not measured: several connections, small
// messages (tls_handshakes has a round trip in it).
#include <cstddef>
#include <memory>
#include <vector>

#include "tls_support.hpp"

namespace {

constexpr std::size_t kPiece = 256 * 1024;
constexpr int kPieces = 64;  // per iteration

void transfer(benchmark::State& run, fibrio::ByteStream& from, fibrio::ByteStream& to) {
  const std::vector<std::byte> piece(kPiece, std::byte{'x'});
  for (auto _ : run) {
    const auto writer = fibrio::spawn([&] {
      for (int i = 0; i < kPieces; ++i) from.write_all(piece);
    });
    std::vector<std::byte> buffer(kPiece);
    for (std::size_t left = kPieces * kPiece; left > 0;) left -= to.read_some(buffer);
    fibrio::await(writer);
  }
  run.SetBytesProcessed(static_cast<std::int64_t>(run.iterations() * kPieces * kPiece));
}

}  // namespace

static void plain(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
    const bench::PlainPair pair = bench::connect_plain(listener);
    transfer(run, *pair.client, *pair.server);
  });
}
BENCHMARK(plain)->Apply(bench::one_and_two_workers);

static void tls_stream(benchmark::State& state) {
  const bench::Contexts contexts = bench::make_contexts(false);
  bench::in_loop(state, [&](benchmark::State& run) {
    auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
    bench::PlainPair pair = bench::connect_plain(listener);
    auto accepting =
        fibrio::create_task([&] { return fibrio::tls::accept(std::move(pair.server), contexts.server); });
    const auto client = fibrio::tls::handshake(std::move(pair.client), contexts.client, "localhost");
    const auto server = fibrio::await(std::move(accepting));
    transfer(run, *client, *server);
    client->abort();
  });
}
BENCHMARK(tls_stream)->Apply(bench::one_and_two_workers);

BENCHMARK_MAIN();
