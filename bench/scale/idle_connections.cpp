// Question: what does an idle connection take of a server's memory, and do thousands of them slow down those that are
// in use? Unit: bytes of the server's process (PSS, and page tables) for each; microseconds from request to answer on
// 64 other connections, at a fixed rate, without and with the crowd. A good answer: a page of stack, a page of buffer
// where one is kept, a kilobyte for all else; latencies that do not change. Not measured: the kernel's memory (see
// footprint), and servers that are busy up to their limit.
//   idle_connections [--connections N] [--live N] [--rate N] [--seconds S] [--workers N] [http|streams|https|tls]...
// The server is a process of its own, the client's loop has one worker; both share the machine. Over HTTP an idle
// connection is one that is kept after a request, over streams one whose handler waits for a line.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../arguments.hpp"
#include "../raw/load.hpp"
#include "fibrio/fibrio.hpp"
#include "fibrio/http/server.hpp"
#ifdef FIBRIO_BENCH_TLS
#include "../tls_support.hpp"
#endif

namespace {

using namespace std::chrono_literals;
using fibrio::ByteStream;

struct Settings {
  std::size_t connections = 10'000;
  std::size_t live = 64;
  double rate = 2000;
  double seconds = 5;
  std::string workers = "2";
};

bool is_secure(std::string_view kind) { return kind == "https" || kind == "tls"; }
bool is_http(std::string_view kind) { return kind.starts_with("http"); }

// Whether the process may have so many fds.
bool raise_fd_limit(std::size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  if (limit.rlim_max < wanted) {
    std::fprintf(
        stderr, "idle_connections: %zu fds are wanted, and the hard limit is %llu: ulimit -Hn %zu, as root\n",
        wanted, static_cast<unsigned long long>(limit.rlim_max), wanted);
    return false;
  }
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

// --- the server's process ----------------------------------------------------------------------------------

void announce(const fibrio::Address& address) {
  std::printf("%d\n", address.port());
  std::fflush(stdout);
}

void serve_http(std::string_view kind) {
  fibrio::http::ServerOptions options;
  options.idle_timeout = 1h;
  if (is_secure(kind)) {
#ifdef FIBRIO_BENCH_TLS
    options.make_stream = [context = bench::make_contexts(false).server](
                              fibrio::TcpStream stream) -> std::unique_ptr<ByteStream> {
      return fibrio::tls::accept(fibrio::make_byte_stream(std::move(stream)), context);
    };
#endif
  }
  fibrio::http::Server server(std::move(options));
  server.route("GET", "/", [](fibrio::http::Request&) { return fibrio::http::Response("Hello, world!\n"); },
               {.quick = true});
  server.listen(fibrio::Address::parse("127.0.0.1", 0));
  announce(server.addresses()[0]);
  server.serve();
}

void serve_lines(std::string_view kind) {
  const auto answer = [](fibrio::StreamReader& reader, fibrio::StreamWriter& writer) {
    for (const std::string& line : reader.lines()) {
      writer.write(line);
      writer.drain();
    }
  };
  fibrio::ServerOptions options{.backlog = 4096};
#ifdef FIBRIO_BENCH_TLS
  if (is_secure(kind)) options.upgrade = fibrio::tls::upgrade(bench::make_contexts(false).server);
#else
  static_cast<void>(kind);
#endif
  fibrio::Server server = fibrio::start_server(answer, "127.0.0.1", 0, std::move(options));
  announce(server.sockets()[0]);
  server.serve_forever();
}

// --- the client --------------------------------------------------------------------------------------------

class Client {
 public:
  explicit Client(std::string_view kind)
      : request_(is_http(kind) ? "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" : "Hello, world!\n") {
    if (!is_secure(kind)) return;
#ifdef FIBRIO_BENCH_TLS
    upgrade_ = [context = fibrio::tls::Context::client(
                    {.verify = false, .check_hostname = false, .kept_sessions = 0})](
                   fibrio::TcpStream stream) -> std::unique_ptr<ByteStream> {
      return fibrio::tls::handshake(fibrio::make_byte_stream(std::move(stream)), context, "localhost");
    };
#endif
  }

  // A connection on which one request was answered.
  [[nodiscard]] std::unique_ptr<ByteStream> connect(std::uint16_t port) const {
    auto tcp = fibrio::TcpStream::connect("127.0.0.1", port);
    auto stream = upgrade_ ? upgrade_(std::move(tcp)) : fibrio::make_byte_stream(std::move(tcp));
    ask(*stream);
    return stream;
  }

  // Every answer here ends with this line, and comes whole or at least in order.
  void ask(ByteStream& stream) const {
    stream.write_all(std::as_bytes(std::span(request_)));
    constexpr std::string_view kEnd = "Hello, world!\n";
    std::string answer;
    std::byte buffer[512];
    while (!answer.ends_with(kEnd)) {
      const std::size_t count = stream.read_some(buffer);
      if (count == 0) throw std::runtime_error("the server has closed a connection");
      answer.append(reinterpret_cast<const char*>(buffer), count);
    }
  }

 private:
  std::string request_;
  std::function<std::unique_ptr<ByteStream>(fibrio::TcpStream)> upgrade_;
};

struct Memory {
  long resident = 0;
  long proportional = 0;
  long page_tables = 0;
};
Memory memory_of(int pid) {
  Memory memory;
  const std::string folder = "/proc/" + std::to_string(pid);
  std::ifstream status(folder + "/status");
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") status >> memory.resident;
    if (word == "VmPTE:") status >> memory.page_tables;
  }
  std::ifstream maps(folder + "/smaps_rollup");
  for (std::string word; maps >> word;) {
    if (word == "Pss:") maps >> memory.proportional;
  }
  return memory;
}

struct Traffic {
  load::Histogram latencies;
  double slowest_us = 0;
};

// Each connection asks when its turn comes, evenly spread; the clock of a request starts when it is sent.
Traffic measure(const Client& client, const std::vector<std::unique_ptr<ByteStream>>& live,
                const Settings& settings) {
  Traffic traffic;
  fibrio::EventLoop& loop = fibrio::get_running_loop();
  const auto gap =
      std::chrono::duration_cast<fibrio::Duration>(std::chrono::duration<double>(1 / settings.rate));
  const fibrio::TimePoint begin = loop.time() + 10ms;
  const fibrio::TimePoint end =
      begin + std::chrono::duration_cast<fibrio::Duration>(std::chrono::duration<double>(settings.seconds));
  std::vector<fibrio::Task<>> tasks;
  for (std::size_t i = 0; i < live.size(); ++i) {
    tasks.push_back(fibrio::create_task([&, i] {
      for (fibrio::TimePoint due = begin + gap * i; due < end; due += gap * live.size()) {
        fibrio::sleep(due - loop.time());
        const auto sent = load::Clock::now();
        client.ask(*live[i]);
        const auto time = load::Clock::now() - sent;
        traffic.latencies.add(time);
        traffic.slowest_us =
            std::max(traffic.slowest_us, std::chrono::duration<double, std::micro>(time).count());
      }
    }));
  }
  for (auto& task : tasks) fibrio::await(task);
  return traffic;
}

void print(const char* when, const Traffic& traffic) {
  std::printf("  %-14s %8llu answers, p50 %7.1f us, p99 %7.1f us, slowest %8.1f us\n", when,
              static_cast<unsigned long long>(traffic.latencies.total()), traffic.latencies.quantile_us(0.5),
              traffic.latencies.quantile_us(0.99), traffic.slowest_us);
}

void run(const std::string& kind, const Settings& settings) {
  auto server = fibrio::create_subprocess_exec(
      {"/proc/self/exe", "--serve", kind, "--workers", settings.workers}, {.stdout = fibrio::PIPE});
  const auto port = static_cast<std::uint16_t>(std::atoi(server.stdout().readline().c_str()));
  const Client client(kind);
  std::vector<std::unique_ptr<ByteStream>> live;
  for (std::size_t i = 0; i < settings.live; ++i) live.push_back(client.connect(port));
  static_cast<void>(measure(client, live, settings));  // warms up what both sides keep
  const Traffic before = measure(client, live, settings);
  const Memory memory_before = memory_of(server.pid());
  std::vector<std::unique_ptr<ByteStream>> idle(settings.connections);
  std::vector<fibrio::Task<>> connecting;
  constexpr std::size_t kAtOnce = 64;
  for (std::size_t first = 0; first < kAtOnce; ++first) {
    connecting.push_back(fibrio::create_task([&, first] {
      for (std::size_t i = first; i < idle.size(); i += kAtOnce) idle[i] = client.connect(port);
    }));
  }
  for (auto& task : connecting) fibrio::await(task);
  fibrio::sleep(1s);  // what the server gives back, it has given back
  const Memory memory_after = memory_of(server.pid());
  const Traffic after = measure(client, live, settings);
  const auto each = [&](long Memory::*part) {
    return static_cast<double>(memory_after.*part - memory_before.*part) * 1024 /
           static_cast<double>(settings.connections);
  };
  std::printf("%s: %zu idle connections, bytes each: PSS %.0f, RSS %.0f, page tables %.0f\n", kind.c_str(),
              settings.connections, each(&Memory::proportional), each(&Memory::resident),
              each(&Memory::page_tables));
  print("alone", before);
  print("with the crowd", after);
  for (const auto& stream : idle) client.ask(*stream);  // all of them are still served
  server.kill();
  server.wait();
  for (auto* crowd : {&idle, &live}) {
    for (auto& stream : *crowd) stream->abort();
  }
}

}  // namespace

int main(int count, char** words) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  bench::Arguments arguments(
      count, words,
      "idle_connections [--connections N] [--live N] [--rate N] [--seconds S] [--workers N] "
      "[http|streams|https|tls]...");
  Settings settings;
  std::vector<std::string> kinds;
  std::string served;
  while (arguments.next()) {
    if (arguments.is("--connections")) {
      settings.connections = arguments.value<std::size_t>(1, 1'000'000);
    } else if (arguments.is("--live")) {
      settings.live = arguments.value<std::size_t>(1, 10'000);
    } else if (arguments.is("--rate")) {
      settings.rate = arguments.value(1.0, 1e6);
    } else if (arguments.is("--seconds")) {
      settings.seconds = arguments.value(0.1, 3600.0);
    } else if (arguments.is("--workers")) {
      settings.workers = std::to_string(arguments.value<std::size_t>(1, 1024));
    } else if (arguments.is("--serve")) {
      served = arguments.value();
    } else if (arguments.is("http") || arguments.is("streams") || arguments.is("https") ||
               arguments.is("tls")) {
      kinds.emplace_back(arguments.word());
    } else {
      arguments.refuse_unknown();
    }
  }
  if (!raise_fd_limit(settings.connections + settings.live + 64)) return 1;
  fibrio::Config config;
  config.workers = std::stoul(served.empty() ? "1" : settings.workers);
  if (!served.empty()) {
    fibrio::run([&] { is_http(served) ? serve_http(served) : serve_lines(served); }, config);
    return 0;
  }
#ifdef FIBRIO_BENCH_TLS
  if (kinds.empty()) kinds = {"http", "streams", "https", "tls"};
#else
  if (kinds.empty()) kinds = {"http", "streams"};
  if (std::any_of(kinds.begin(), kinds.end(), is_secure)) arguments.refuse("built without fibrio::tls");
#endif
  for (const std::string& kind : kinds) fibrio::run([&] { run(kind, settings); }, config);
  return 0;
}
