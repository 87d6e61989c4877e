// What: what the load generators for echo servers share: the message, connections, latencies, the server's
// CPU time.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include <string>
#include <vector>

namespace load {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMessage = 64;

// Counts of nanoseconds: 64 steps per power of two, so each value is known within 1/64.
class Histogram {
 public:
  void add(Clock::duration time) {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    ++counts_[index(static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0)))];
    ++total_;
  }
  [[nodiscard]] double quantile_us(double q) const {
    auto left = static_cast<std::uint64_t>(q * static_cast<double>(total_));
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] > left) return static_cast<double>(lower_bound(i)) / 1000;
      left -= counts_[i];
    }
    return 0;
  }
  [[nodiscard]] std::uint64_t total() const { return total_; }

  // As members of a JSON object: "<prefix>p50_us" and so on.
  void print(const char* prefix) const {
    std::printf("\"%sp50_us\": %.1f, \"%sp99_us\": %.1f, \"%sp999_us\": %.1f", prefix, quantile_us(0.5),
                prefix, quantile_us(0.99), prefix, quantile_us(0.999));
  }

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

// On-CPU time of all threads of a process and of its children.
inline std::uint64_t cpu_ns(int pid) {
  std::uint64_t sum = 0;
  std::error_code error;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", error)) {
    std::uint64_t ns = 0;
    std::ifstream(task.path() / "schedstat") >> ns;
    sum += ns;
    std::ifstream children(task.path() / "children");
    for (int child = 0; children >> child;) sum += cpu_ns(child);
  }
  return sum;
}

struct Connection {
  int fd = -1;
  std::size_t received = 0;
  std::uint64_t number = 0;
  std::uint32_t burn_ns = 0;
  Clock::time_point since;  // latency counts from here
  char message[kMessage] = {};
};

enum class Received { part, whole, failed };

// Sends the connection's next message, which differs from the one before and asks to burn `burn_ns`.
inline bool send_next(Connection& connection) {
  ++connection.number;
  std::memset(connection.message, static_cast<int>(connection.number & 0x7f), kMessage);
  std::memcpy(connection.message, &connection.burn_ns,
              sizeof connection.burn_ns);  // little endian, as all here
  std::memcpy(connection.message + 8, &connection.number, sizeof connection.number);
  connection.received = 0;
  return ::send(connection.fd, connection.message, kMessage, MSG_NOSIGNAL) == static_cast<ssize_t>(kMessage);
}

// Takes what there is of the answer and compares it with what was sent.
inline Received receive(Connection& connection) {
  char answer[kMessage];
  const ssize_t got = ::recv(connection.fd, answer, kMessage - connection.received, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return Received::part;
  if (got <= 0 ||
      std::memcmp(answer, connection.message + connection.received, static_cast<std::size_t>(got)) != 0)
    return Received::failed;
  connection.received += static_cast<std::size_t>(got);
  return connection.received < kMessage ? Received::part : Received::whole;
}

inline int connect_to(int port) {
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

}  // namespace load
