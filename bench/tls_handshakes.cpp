// Question: how many TLS connections can be opened per second, both sides in one loop, with full handshakes (TLS
// 1.3, X25519, a P-256 certificate) and with resumed ones? Each connection: connect, handshake, one byte from the
// server, which brings the tickets along, close. Unit: connections per second; CPU time is that of both sides.
// Good: OpenSSL's own arithmetic is most of it (`openssl speed ecdsap256 ecdhx25519`). Not measured: real networks,
// whose round trips a handshake waits for.
#include <cstddef>
#include <memory>
#include <vector>

#include "tls_support.hpp"

namespace {

constexpr int kClients = 16;
constexpr int kVisits = 8;  // of each client, per iteration

void visit(const fibrio::Address& address, const bench::Contexts& contexts) {
  const auto stream = fibrio::tls::handshake(fibrio::make_byte_stream(fibrio::TcpStream::connect(address)),
                                             contexts.client, "localhost");
  std::byte byte[1];
  static_cast<void>(stream->read_some(byte));
}

void serve(std::unique_ptr<fibrio::ByteStream> plain, const bench::Contexts& contexts) {
  const auto stream = fibrio::tls::accept(std::move(plain), contexts.server);
  stream->write_all(std::vector<std::byte>(1));
}

void connections(benchmark::State& state, bool sessions) {
  const bench::Contexts contexts = bench::make_contexts(sessions);
  bench::in_loop(state, [&](benchmark::State& run) {
    auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
    const fibrio::Address address = listener.local_address();
    const auto server = fibrio::create_task([&] {
      for (;;) fibrio::spawn(serve, fibrio::make_byte_stream(listener.accept()), std::cref(contexts));
    });
    for (auto _ : run) {
      std::vector<fibrio::Task<>> clients;
      for (int i = 0; i < kClients; ++i) {
        clients.push_back(fibrio::spawn([&] {
          for (int k = 0; k < kVisits; ++k) visit(address, contexts);
        }));
      }
      for (const auto& client : clients) fibrio::await(client);
    }
    server.cancel();
    server.wait();
    run.SetItemsProcessed(run.iterations() * kClients * kVisits);
  });
}

}  // namespace

static void full(benchmark::State& state) { connections(state, false); }
BENCHMARK(full)->Apply(bench::one_and_two_workers);
static void resumed(benchmark::State& state) { connections(state, true); }
BENCHMARK(resumed)->Apply(bench::one_and_two_workers);

BENCHMARK_MAIN();
