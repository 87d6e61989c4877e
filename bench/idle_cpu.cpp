// Question (W16): what CPU does a loop take that has nothing to do, with 10,000 open connections, a task
// waiting on each, and 10,000 tasks asleep for an hour? Unit: % of a core, over some seconds, after the loop
// has given back what it used to get there. Good: 0.0. It exits with 1 above 0.1 %.
//
//   bench_idle_cpu [--workers N] [--seconds S] [--connections 10000] [--timers 10000]     prints a JSON object
//
// The other ends of the connections are in a child process that does nothing.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>

#include "arguments.hpp"
#include "fibrio/fibrio.hpp"

namespace {

constexpr double kAllowedPercent = 0.1;

// Until the caches of stacks and memory are given back: 2 s are promised (docs/tuning.md).
constexpr auto kSettle = std::chrono::seconds(3);

double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

void allow_files(std::size_t wanted) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < wanted) {
    std::fprintf(stderr, "needs %zu open files; the hard limit is %zu\n", wanted,
                 static_cast<std::size_t>(limit.rlim_max));
    std::exit(2);
  }
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// A child that reads a port from the pipe, connects so often, and stays until its parent ends.
pid_t start_clients(int pipe_end, std::size_t connections) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  std::uint16_t port = 0;
  if (::read(pipe_end, &port, sizeof port) != sizeof port) ::_exit(1);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (std::size_t i = 0; i < connections; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      std::perror("connect");
      ::_exit(1);
    }
  }
  for (;;) ::pause();
}

void wait_for_bytes(fibrio::TcpStream stream) {
  std::array<std::byte, 64> bytes;
  while (stream.read_some(bytes) > 0) {
  }
}

double measure_percent(int pipe_end, std::size_t connections, std::size_t timers, double seconds) {
  auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0), {.backlog = 4096});
  const std::uint16_t port = listener.local_address().port();
  if (::write(pipe_end, &port, sizeof port) != sizeof port) std::exit(2);
  for (std::size_t i = 0; i < connections; ++i) fibrio::spawn(wait_for_bytes, listener.accept());
  for (std::size_t i = 0; i < timers; ++i) fibrio::spawn([] { fibrio::sleep(std::chrono::hours(1)); });
  fibrio::sleep(kSettle);
  const double before = cpu_seconds();
  fibrio::sleep(std::chrono::duration_cast<fibrio::Duration>(std::chrono::duration<double>(seconds)));
  return (cpu_seconds() - before) / seconds * 100;
}

}  // namespace

int main(int argc, char** argv) {
  fibrio::Config config;
  config.workers = 1;
  double seconds = 3;
  std::size_t connections = 10'000;
  std::size_t timers = 10'000;
  constexpr std::size_t kMost = 100'000'000;
  bench::Arguments arguments(
      argc, argv, "bench_idle_cpu [--workers N] [--seconds S] [--connections 10000] [--timers 10000]");
  while (arguments.next()) {
    if (arguments.is("--workers")) {
      config.workers = arguments.value<std::size_t>(1, 1024);
    } else if (arguments.is("--seconds")) {
      seconds = arguments.value(0.1, 86'400.0);
    } else if (arguments.is("--connections")) {
      connections = arguments.value<std::size_t>(0, kMost);
    } else if (arguments.is("--timers")) {
      timers = arguments.value<std::size_t>(0, kMost);
    } else {
      arguments.refuse_unknown();
    }
  }
  allow_files(connections + 64);
  int ends[2];
  if (::pipe(ends) != 0) return 2;
  const pid_t clients = start_clients(ends[0], connections);
  double percent = 0;
  fibrio::run([&] { percent = measure_percent(ends[1], connections, timers, seconds); }, config);
  ::kill(clients, SIGKILL);
  ::waitpid(clients, nullptr, 0);
  std::printf("{\"cpu_percent\": %.4f, \"workers\": %zu, \"connections\": %zu, \"timers\": %zu}\n", percent,
              config.workers, connections, timers);
  return percent <= kAllowedPercent ? 0 : 1;
}
