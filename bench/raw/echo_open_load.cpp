// Load for echo servers that compute (W15): R requests per second over C connections, whatever the server
// does (an open loop). A share of the requests asks the server to burn a time; what counts is the latency of
// the others, from the instant each was to be sent, so that a stall counts for all whom it delays.
//
//   echo_open_load --port P [--connections 256] [--rate 10000] [--seconds 5] [--share 0.02]
//                  [--burn-ns 1000000] [--seed 1] [--pid SERVER]
//
// Each connection has a schedule of its own, evenly spread; one whose last request is not answered yet sends
// the next when it is. Prints a JSON object in one line: latency of the requests that burn nothing and of
// all, in us (each within 1.6 %), requests sent and answered, errors, how late the generator itself was with
// what it could send at once, and with --pid the server's CPU time per request, in us. The generator sleeps
// between requests: it needs little CPU, but on a machine where the server has all cores its own wake-ups (35
// us on a halted virtual CPU) are in the latency. It does not measure throughput.
#include <sys/epoll.h>
#include <sys/prctl.h>

#include <random>

#include "../arguments.hpp"
#include "load.hpp"

namespace {

using load::Clock;
using load::Connection;

constexpr auto kWarmUp = std::chrono::milliseconds(500);
// For the answers to what was sent last; the rest counts as errors.
constexpr auto kLastAnswers = std::chrono::seconds(5);

struct Client : Connection {
  Clock::time_point due;  // of its next request
  bool is_waiting = false;
};

struct Options {
  int port = 0;
  int pid = 0;
  std::size_t connections = 256;
  double rate = 10'000;
  double seconds = 5;
  double share = 0.02;
  std::uint32_t burn_ns = 1'000'000;
  std::uint64_t seed = 1;
};

Options parse(int argc, char** argv) {
  Options options;
  bench::Arguments arguments(
      argc, argv,
      "echo_open_load --port P [--connections 256] [--rate 10000] [--seconds 5] [--share 0.02]\n"
      "                      [--burn-ns 1000000] [--seed 1] [--pid SERVER]");
  while (arguments.next()) {
    if (arguments.is("--port")) {
      options.port = arguments.value<int>(1, UINT16_MAX);
    } else if (arguments.is("--pid")) {
      options.pid = arguments.value<int>(1, INT32_MAX);
    } else if (arguments.is("--connections")) {
      options.connections = arguments.value<std::size_t>(1, 100'000);
    } else if (arguments.is("--rate")) {
      options.rate = arguments.value<double>(1, 1e9);
    } else if (arguments.is("--seconds")) {
      options.seconds = arguments.value<double>(0.01, 3600);
    } else if (arguments.is("--share")) {
      options.share = arguments.value<double>(0, 1);
    } else if (arguments.is("--burn-ns")) {
      options.burn_ns = arguments.value<std::uint32_t>(0, UINT32_MAX);
    } else if (arguments.is("--seed")) {
      options.seed = arguments.value<std::uint64_t>(0, UINT64_MAX);
    } else {
      arguments.refuse_unknown();
    }
  }
  if (options.port == 0) arguments.refuse("--port is needed");
  return options;
}

class OpenLoad {
 public:
  explicit OpenLoad(const Options& options)
      : pid_(options.pid),
        burn_ns_(options.burn_ns),
        burns_(options.share),
        random_(options.seed),
        clients_(options.connections),
        gap_(seconds(1 / options.rate)),
        period_(gap_ * clients_.size()) {
    ::prctl(PR_SET_TIMERSLACK, 1);
    for (Client& client : clients_) {
      client.fd = load::connect_to(options.port);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = &client;
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, client.fd, &event);
    }
    const Clock::time_point begin = turn_due_ = Clock::now();
    for (std::size_t i = 0; i < clients_.size(); ++i) clients_[i].due = begin + gap_ * i;
    start_ = begin + kWarmUp;
    end_ = start_ + seconds(options.seconds);
  }

  int run() {
    std::uint64_t cpu_before = 0;
    bool measuring = false;
    Clock::time_point now = Clock::now();
    while (now < end_ || (waiting_ > 0 && now < end_ + kLastAnswers)) {
      // In the order of their instants; who still waits for an answer sends when that comes.
      while (now < end_ && turn_due_ <= now) {
        Client& client = clients_[turn_];
        if (!client.is_waiting && client.fd >= 0) {
          lateness_.add(now - client.due);
          send(client);
        }
        turn_ = (turn_ + 1) % clients_.size();
        turn_due_ += gap_;
        now = Clock::now();
      }
      poll(now < end_ ? turn_due_ - now : Clock::duration(std::chrono::milliseconds(100)));
      now = Clock::now();
      if (!measuring && now >= start_) {
        measuring = true;
        cpu_before = pid_ > 0 ? load::cpu_ns(pid_) : 0;
      }
    }
    errors_ += waiting_;
    print(pid_ > 0 ? static_cast<double>(load::cpu_ns(pid_) - cpu_before) / 1000 : 0);
    return errors_ == 0 && all_.total() > 0 ? 0 : 1;
  }

 private:
  static Clock::duration seconds(double count) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(count));
  }

  void send(Client& client) {
    client.since = client.due;
    client.due += period_;
    client.burn_ns = burns_(random_) ? burn_ns_ : 0;
    client.is_waiting = true;
    ++waiting_;
    ++sent_;
    if (!load::send_next(client)) fail(client);
  }

  void fail(Client& client) {
    ++errors_;
    --waiting_;
    client.is_waiting = false;
    ::close(client.fd);
    client.fd = -1;
  }

  void poll(Clock::duration timeout) {
    const auto ns = std::max<std::int64_t>(0, std::chrono::nanoseconds(timeout).count());
    const timespec time{ns / 1'000'000'000, ns % 1'000'000'000};
    epoll_event events[256];
    const int count = ::epoll_pwait2(epoll_, events, 256, &time, nullptr);
    for (int i = 0; i < count; ++i) {
      Client& client = *static_cast<Client*>(events[i].data.ptr);
      const load::Received received = load::receive(client);
      if (received == load::Received::whole) {
        answered(client, Clock::now());
      } else if (received == load::Received::failed) {
        fail(client);
      }
    }
  }

  void answered(Client& client, Clock::time_point now) {
    client.is_waiting = false;
    --waiting_;
    ++answered_;
    if (client.since >= start_) {
      all_.add(now - client.since);
      if (client.burn_ns == 0) clean_.add(now - client.since);
    }
    if (client.due <= now && client.due < end_) send(client);
  }

  void print(double cpu_us) const {
    std::printf("{");
    clean_.print("");
    std::printf(", ");
    all_.print("all_");
    std::printf(", ");
    lateness_.print("generator_late_");
    std::printf(", \"sent\": %llu, \"answered\": %llu, \"errors\": %llu", sent_, answered_, errors_);
    if (pid_ > 0 && all_.total() > 0)
      std::printf(", \"server_cpu_us\": %.4f", cpu_us / static_cast<double>(all_.total()));
    std::printf("}\n");
  }

  const int pid_;
  const std::uint32_t burn_ns_;
  std::bernoulli_distribution burns_;
  std::mt19937_64 random_;
  const int epoll_ = ::epoll_create1(0);
  std::vector<Client> clients_;
  const Clock::duration gap_;     // between two requests
  const Clock::duration period_;  // between two of one connection
  Clock::time_point start_;
  Clock::time_point end_;
  std::size_t turn_ = 0;
  Clock::time_point turn_due_;
  load::Histogram clean_, all_, lateness_;
  unsigned long long sent_ = 0;
  unsigned long long answered_ = 0;
  unsigned long long waiting_ = 0;
  unsigned long long errors_ = 0;
};

}  // namespace

int main(int argc, char** argv) { return OpenLoad(parse(argc, argv)).run(); }
