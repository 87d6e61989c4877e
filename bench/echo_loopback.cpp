// Question (W8, both sides on fibrio): what does a 64-byte request and its answer cost over loopback TCP,
// when 64 tasks ask and 64 answer in one loop? Unit: time per request ("per_request"), of which the kernel
// has most: four system calls. Good: close to four system calls and two switches of tasks. What the server's
// side alone costs, beside a raw epoll loop and the peers, is measured by compare/network.py; how it behaves
// when requests compute (W15), too.
#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "support.hpp"

namespace {

constexpr std::size_t kMessage = 64;
constexpr int kConnections = 64;
constexpr int kRequests = 200;  // of each connection, per iteration

void answer(fibrio::TcpStream stream) {
  std::array<std::byte, 1024> message;
  while (const std::size_t count = stream.read_some(message))
    stream.write_all(std::span(message).first(count));
}

// With room for more than the answer: what fills the buffer may not be all, and would be asked for once more.
void ask(fibrio::TcpStream& stream) {
  const std::array<std::byte, kMessage> message{};
  std::array<std::byte, 1024> answered;
  for (int i = 0; i < kRequests; ++i) {
    stream.write_all(message);
    for (std::size_t got = 0; got < kMessage;) {
      const std::size_t count = stream.read_some(answered);
      if (count == 0) return;
      got += count;
    }
  }
}

}  // namespace

static void echo_loopback(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
    std::vector<fibrio::TcpStream> clients;
    std::vector<fibrio::Task<>> servers;
    for (int i = 0; i < kConnections; ++i) {
      clients.push_back(fibrio::TcpStream::connect(listener.local_address()));
      servers.push_back(fibrio::spawn(answer, listener.accept()));
    }
    for (auto _ : run) {
      std::vector<fibrio::Task<>> asking;
      for (auto& client : clients) asking.push_back(fibrio::create_task(ask, std::ref(client)));
      for (const auto& task : asking) fibrio::await(task);
    }
    clients.clear();
    for (const auto& task : servers) fibrio::await(task);
    run.counters["per_request"] =
        benchmark::Counter(kConnections * kRequests,
                           benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  });
}
BENCHMARK(echo_loopback)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
