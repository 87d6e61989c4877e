// Question (W15, both sides on fibrio): how long does a request wait beside others that compute? 64 connections send 5,000
// requests per second in all, on a schedule that does not wait for the answers of others (an open loop per connection);
// requests picked at random burn CPU in the handler. Unit: us from the scheduled instant to the answer, of those that do
// not burn ("p50_us", "p99_us", "p999_us"), with two workers. Good: a p99 of about the time of one burn, as the other
// worker takes over what waits unless it burns, too; on a machine with nothing else to do. Clients and server share the
// workers, so a stall holds up both; beside the peers, with the load outside, it is measured by compare/network.py.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <stdexcept>
#include <vector>

#include "support.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

constexpr std::size_t kMessage = 64;
constexpr int kConnections = 64;
constexpr int kRequests = 80;         // of each connection, per iteration: about a second
constexpr microseconds kPeriod{200};  // from one request to the next one, of whatever connection
constexpr std::byte kBurns{1};        // the first byte of a request that computes

// With room for more than a message: what fills the buffer may not be all, and would be asked for once more.
using Buffer = std::array<std::byte, 1024>;

void answer(fibrio::TcpStream stream, microseconds burn) {
  Buffer message;
  while (const std::size_t count = stream.read_some(message)) {
    if (message[0] == kBurns) {
      const auto end = Clock::now() + burn;
      while (Clock::now() < end) {
      }
    }
    stream.write_all(std::span(message).first(count));
  }
}

// Asks at `first`, and again whenever all connections have had their turn. One of `every` requests burns.
std::vector<double> ask(fibrio::TcpStream& stream, Clock::time_point first, std::uint32_t seed, int every) {
  std::mt19937 random(seed);
  std::vector<double> latencies;
  Buffer answered;
  for (int i = 0; i < kRequests; ++i) {
    const Clock::time_point due = first + i * kConnections * kPeriod;
    if (const auto early = due - Clock::now(); early.count() > 0) fibrio::sleep(early);
    std::array<std::byte, kMessage> message{};
    const bool burns = std::uniform_int_distribution(1, every)(random) == 1;
    if (burns) message[0] = kBurns;
    stream.write_all(message);
    for (std::size_t got = 0; got < kMessage;) {
      const std::size_t count = stream.read_some(answered);
      if (count == 0) throw std::runtime_error("the connection has ended");
      got += count;
    }
    if (!burns) latencies.push_back(std::chrono::duration<double, std::micro>(Clock::now() - due).count());
  }
  return latencies;
}

}  // namespace

// Arguments: workers, one of how many requests burns, for how many us.
static void echo_beside_stalls(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    const auto every = static_cast<int>(run.range(1));
    const microseconds burn(run.range(2));
    auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
    std::vector<fibrio::TcpStream> clients;
    std::vector<fibrio::Task<>> servers;
    for (int i = 0; i < kConnections; ++i) {
      clients.push_back(fibrio::TcpStream::connect(listener.local_address()));
      servers.push_back(fibrio::spawn(answer, listener.accept(), burn));
    }
    std::vector<double> all;
    std::uint32_t seed = 0;
    for (auto _ : run) {
      const auto start = Clock::now() + std::chrono::milliseconds(5);
      std::vector<fibrio::Task<std::vector<double>>> asking;
      for (int i = 0; i < kConnections; ++i) {
        asking.push_back(fibrio::create_task(ask, std::ref(clients[static_cast<std::size_t>(i)]),
                                             start + i * kPeriod, ++seed, every));
      }
      for (const auto& task : asking) {
        const std::vector<double> latencies = fibrio::await(task);
        all.insert(all.end(), latencies.begin(), latencies.end());
      }
    }
    clients.clear();
    for (const auto& task : servers) fibrio::await(task);
    std::sort(all.begin(), all.end());
    run.counters["p50_us"] = all[all.size() / 2];
    run.counters["p99_us"] = all[all.size() * 99 / 100];
    run.counters["p999_us"] = all[all.size() * 999 / 1000];
  });
}
BENCHMARK(echo_beside_stalls)
    ->ArgNames({"workers", "one_of", "us"})
    ->Args({2, 50, 1000})
    ->Args({2, 200, 5000})
    ->Args({2, 20, 1000})
    ->Iterations(3)
    ->UseRealTime()
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
