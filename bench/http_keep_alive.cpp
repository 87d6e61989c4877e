// Question (W9, both sides on fibrio): what does a GET over a kept HTTP/1.1 connection cost, parsed by Beast, with
// http::Server as users have it, when 64 clients ask one after the other? Unit: time per request ("per_request"), the
// clients' share included, which only count bytes. Good: under a microsecond above an echo (bench_echo_loopback), which
// makes the same four system calls. What the server's side alone costs, beside a raw epoll loop and the peers, is
// measured by compare/network.py.
#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fibrio/http/server.hpp"
#include "support.hpp"

namespace {

constexpr int kConnections = 64;
constexpr int kRequests = 100;  // of each connection, per iteration
constexpr std::string_view kRequest = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
constexpr std::string_view kBody = "Hello, world!\n";

// The answer's length, header and all: every one has it. 0: the connection has ended before a whole one.
std::size_t ask(fibrio::TcpStream& stream, std::size_t length) {
  stream.write_all(kRequest);
  std::array<char, 1024> answer;
  std::size_t got = 0;
  while (length == 0 || got < length) {
    const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(answer).subspan(got)));
    if (count == 0) return 0;
    got += count;
    if (length == 0 && std::string_view(answer.data(), got).ends_with(kBody)) return got;
  }
  return got;
}

void ask_again_and_again(fibrio::TcpStream& stream, std::size_t length) {
  for (int i = 0; i < kRequests; ++i) {
    if (ask(stream, length) != length) throw std::runtime_error("an answer of another length");
  }
}

}  // namespace

static void http_keep_alive(benchmark::State& state) {
  bench::in_loop(state, [](benchmark::State& run) {
    fibrio::http::Server server;
    server.route(
        "GET", "/",
        [](fibrio::http::Request&) { return fibrio::http::Response(std::string(kBody), "text/plain"); },
        {.quick = true});
    server.listen(fibrio::Address::parse("127.0.0.1", 0));
    const auto serving = fibrio::spawn([&] { server.serve(); });
    std::vector<fibrio::TcpStream> clients;
    std::size_t length = 0;
    for (int i = 0; i < kConnections; ++i) {
      clients.push_back(fibrio::TcpStream::connect(server.addresses()[0]));
      length = ask(clients.back(), length);
      if (length == 0) throw std::runtime_error("a connection has ended");
    }
    for (auto _ : run) {
      std::vector<fibrio::Task<>> asking;
      for (auto& client : clients)
        asking.push_back(fibrio::create_task(ask_again_and_again, std::ref(client), length));
      for (const auto& task : asking) fibrio::await(task);
    }
    clients.clear();
    server.shutdown(std::chrono::seconds(1));
    fibrio::await(serving);
    bench::per(run, "per_request", kConnections * kRequests);
  });
}
BENCHMARK(http_keep_alive)->Apply(bench::one_and_two_workers)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
