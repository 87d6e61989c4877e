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

class OpenLoad {
 public:
  OpenLoad(int argc, char** argv)
      : pid_(static_cast<int>(load::option(argc, argv, "--pid", 0))),
        burn_ns_(static_cast<std::uint32_t>(load::option(argc, argv, "--burn-ns", 1e6))),
        burns_(load::option(argc, argv, "--share", 0.02)),
        random_(static_cast<std::uint64_t>(load::option(argc, argv, "--seed", 1))),
        clients_(static_cast<std::size_t>(load::option(argc, argv, "--connections", 256))),
        gap_(seconds(1 / load::option(argc, argv, "--rate", 10'000))),
        period_(gap_ * clients_.size()) {
    ::prctl(PR_SET_TIMERSLACK, 1);
    const int port = static_cast<int>(load::option(argc, argv, "--port", 0));
    for (Client& client : clients_) {
      client.fd = load::connect_to(port);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = &client;
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, client.fd, &event);
    }
    const Clock::time_point begin = turn_due_ = Clock::now();
    for (std::size_t i = 0; i < clients_.size(); ++i) clients_[i].due = begin + gap_ * i;
    start_ = begin + kWarmUp;
    end_ = start_ + seconds(load::option(argc, argv, "--seconds", 5));
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

int main(int argc, char** argv) { return OpenLoad(argc, argv).run(); }
