// Load for echo servers: C connections, each with one 64-byte message under way (a closed loop), for S
// seconds after half a second of warming up. Each answer is compared with what was sent.
//
//   echo_load --port P [--connections 64] [--seconds 5] [--pid SERVER]
//
// Prints one line: requests per second, latency p50, p99, p99.9 in us (each within 1.6 %), errors, and with
// --pid the CPU time that the server's threads took per request, in us. A good generator is not the
// bottleneck: give it a core of its own, and look at the server's CPU time rather than at requests per
// second. It does not measure an open loop: a stalled server slows the clients down, which hides queueing
// (for that: W15).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMessage = 64;
constexpr auto kWarmUp = std::chrono::milliseconds(500);

// Counts of nanoseconds: 64 steps per power of two, so each value is known within 1/64.
class Histogram {
 public:
  void add(std::uint64_t value) {
    ++counts_[index(value)];
    ++total_;
  }
  [[nodiscard]] double quantile(double q) const {
    auto left = static_cast<std::uint64_t>(q * static_cast<double>(total_));
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] > left) return static_cast<double>(lower_bound(i));
      left -= counts_[i];
    }
    return 0;
  }
  [[nodiscard]] std::uint64_t total() const { return total_; }

 private:
  static constexpr int kStepBits = 6;
  static std::size_t index(std::uint64_t value) {
    const int shift = std::max(0, static_cast<int>(std::bit_width(value)) - kStepBits - 1);
    return (static_cast<std::size_t>(shift) << kStepBits) + static_cast<std::size_t>(value >> shift);
  }
  static std::uint64_t lower_bound(std::size_t index) {
    if (index < (2u << kStepBits)) return index;
    const std::size_t shift = (index >> kStepBits) - 1;
    return ((index & ((1u << kStepBits) - 1)) + (1u << kStepBits)) << shift;
  }
  std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(64 << kStepBits);
  std::uint64_t total_ = 0;
};

// On-CPU time of all threads of a process.
std::uint64_t cpu_ns(int pid) {
  std::uint64_t sum = 0;
  std::error_code error;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", error)) {
    std::uint64_t ns = 0;
    std::ifstream(task.path() / "schedstat") >> ns;
    sum += ns;
  }
  return sum;
}

struct Connection {
  int fd = -1;
  std::size_t received = 0;
  std::uint64_t number = 0;
  Clock::time_point sent;
  char message[kMessage] = {};
};

bool send_next(Connection& connection) {
  ++connection.number;
  std::memset(connection.message, static_cast<int>(connection.number & 0x7f), kMessage);
  // The first 4 bytes stay 0: some servers read them as a time to compute.
  std::memset(connection.message, 0, 4);
  std::memcpy(connection.message + 8, &connection.number, sizeof connection.number);
  connection.received = 0;
  connection.sent = Clock::now();
  return ::send(connection.fd, connection.message, kMessage, MSG_NOSIGNAL) == static_cast<ssize_t>(kMessage);
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  int port = 0;
  int connections = 64;
  int pid = 0;
  double seconds = 5;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--port") == 0) port = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--connections") == 0) connections = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--seconds") == 0) seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--pid") == 0) pid = std::atoi(argv[i + 1]);
  }

  const int epoll = ::epoll_create1(0);
  std::vector<Connection> all(static_cast<std::size_t>(connections));
  std::uint64_t errors = 0;
  for (Connection& connection : all) {
    connection.fd = connect_to(port);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &connection;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, connection.fd, &event);
  }
  for (Connection& connection : all) errors += send_next(connection) ? 0 : 1;

  Histogram latency;
  bool measuring = false;
  Clock::time_point start = Clock::now() + kWarmUp;
  Clock::time_point end =
      start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  std::uint64_t cpu_before = 0;
  std::vector<epoll_event> events(512);
  Clock::time_point now = Clock::now();
  int open = connections;
  while (now < end && open > 0) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 100);
    for (int i = 0; i < count; ++i) {
      Connection& connection = *static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      char answer[kMessage];
      const ssize_t got = ::recv(connection.fd, answer, kMessage - connection.received, MSG_DONTWAIT);
      const bool same = got > 0 && std::memcmp(answer, connection.message + connection.received,
                                               static_cast<std::size_t>(got)) == 0;
      if (got < 0 && errno == EAGAIN) continue;
      if (!same) {
        ++errors;
        --open;
        ::close(connection.fd);
        continue;
      }
      connection.received += static_cast<std::size_t>(got);
      if (connection.received < kMessage) continue;
      now = Clock::now();
      if (measuring) {
        latency.add(static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::nanoseconds>(now - connection.sent).count()));
      }
      if (!send_next(connection)) ++errors;
    }
    now = Clock::now();
    if (!measuring && now >= start) {
      measuring = true;
      cpu_before = pid > 0 ? cpu_ns(pid) : 0;
      start = now;
    }
  }
  const double cpu = pid > 0 ? static_cast<double>(cpu_ns(pid) - cpu_before) / 1000 : 0;
  const double requests = static_cast<double>(latency.total());
  const double took = std::chrono::duration<double>(now - start).count();
  std::printf("%.0f requests/s, p50 %.0f us, p99 %.0f us, p99.9 %.0f us, %llu errors", requests / took,
              latency.quantile(0.5) / 1000, latency.quantile(0.99) / 1000, latency.quantile(0.999) / 1000,
              static_cast<unsigned long long>(errors));
  if (pid > 0 && requests > 0) std::printf(", server CPU %.3f us per request", cpu / requests);
  std::printf("\n");
  return errors == 0 ? 0 : 1;
}
