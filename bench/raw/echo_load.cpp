// Load for echo servers (W8): C connections, each with one 64-byte message under way (a closed loop), for S
// seconds after half a second of warming up. Each answer is compared with what was sent.
//
//   echo_load --port P [--connections 64] [--seconds 5] [--pid SERVER]
//
// Prints a JSON object in one line: requests per second, latency in us (each within 1.6 %), errors, and with
// --pid the CPU time that the server's threads took per request, in us. A good generator is not the
// bottleneck: give it a core of its own, and look at the server's CPU time rather than at requests per
// second. It does not measure an open loop: a stalled server slows the clients down, which hides queueing
// (for that: echo_open_load).
#include <sys/epoll.h>

#include "../arguments.hpp"
#include "load.hpp"

using load::Clock;
using load::Connection;

int main(int argc, char** argv) {
  constexpr auto kWarmUp = std::chrono::milliseconds(500);
  int port = 0;
  int pid = 0;
  std::size_t connections = 64;
  std::chrono::duration<double> seconds(5);
  bench::Arguments arguments(argc, argv,
                             "echo_load --port P [--connections 64] [--seconds 5] [--pid SERVER]");
  while (arguments.next()) {
    if (arguments.is("--port")) {
      port = arguments.value<int>(1, UINT16_MAX);
    } else if (arguments.is("--pid")) {
      pid = arguments.value<int>(1, INT32_MAX);
    } else if (arguments.is("--connections")) {
      connections = arguments.value<std::size_t>(1, 100'000);
    } else if (arguments.is("--seconds")) {
      seconds = std::chrono::duration<double>(arguments.value<double>(0.01, 3600));
    } else {
      arguments.refuse_unknown();
    }
  }
  if (port == 0) arguments.refuse("--port is needed");

  const int epoll = ::epoll_create1(0);
  std::vector<Connection> all(connections);
  for (Connection& connection : all) {
    connection.fd = load::connect_to(port);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &connection;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, connection.fd, &event);
  }
  unsigned long long errors = 0;
  const auto send = [&](Connection& connection) {
    connection.since = Clock::now();
    if (!load::send_next(connection)) ++errors;
  };
  for (Connection& connection : all) send(connection);

  load::Histogram latency;
  bool measuring = false;
  Clock::time_point start = Clock::now() + kWarmUp;
  const Clock::time_point end = start + std::chrono::duration_cast<Clock::duration>(seconds);
  std::uint64_t cpu_before = 0;
  std::vector<epoll_event> events(512);
  std::size_t open = all.size();
  Clock::time_point now = Clock::now();
  while (now < end && open > 0) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 100);
    for (int i = 0; i < count; ++i) {
      Connection& connection = *static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      const load::Received received = load::receive(connection);
      if (received == load::Received::whole) {
        if (measuring) latency.add(Clock::now() - connection.since);
        send(connection);
      } else if (received == load::Received::failed) {
        ++errors;
        --open;
        ::close(connection.fd);
      }
    }
    now = Clock::now();
    if (!measuring && now >= start) {
      measuring = true;
      cpu_before = pid > 0 ? load::cpu_ns(pid) : 0;
      start = now;
    }
  }
  const double cpu_us = pid > 0 ? static_cast<double>(load::cpu_ns(pid) - cpu_before) / 1000 : 0;
  const auto requests = static_cast<double>(latency.total());
  std::printf("{\"requests_per_s\": %.0f, ", requests / std::chrono::duration<double>(now - start).count());
  latency.print("");
  std::printf(", \"errors\": %llu", errors);
  if (pid > 0 && requests > 0) std::printf(", \"server_cpu_us\": %.4f", cpu_us / requests);
  std::printf("}\n");
  return errors == 0 && requests > 0 ? 0 : 1;
}
