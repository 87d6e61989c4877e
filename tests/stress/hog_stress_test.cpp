// The promise about a task that computes without end: what is homed at its worker goes on with the others.
// Prints the latencies; the bounds are wide, for machines that do other things too.
#include <algorithm>
#include <thread>

#include <sys/socket.h>
#include <unistd.h>

#include "sched/this_worker.hpp"
#include "sched/worker.hpp"
#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

using Clock = std::chrono::steady_clock;

class Latencies {
 public:
  void add(Clock::duration latency) {
    std::lock_guard guard(lock_);
    all_.push_back(std::chrono::duration<double, std::micro>(latency).count());
  }
  void print(const char* what) {
    std::sort(all_.begin(), all_.end());
    if (all_.empty()) return;
    std::printf("  %-8s %6zu samples: p50 %8.0f us, p99 %8.0f us, max %8.0f us\n", what, all_.size(), at(0.5),
                at(0.99), all_.back());
  }
  [[nodiscard]] std::size_t size() const { return all_.size(); }
  [[nodiscard]] double worst() const { return all_.empty() ? 0 : all_.back(); }
  [[nodiscard]] double at(double part) const {
    return all_[std::min(all_.size() - 1, static_cast<std::size_t>(part * static_cast<double>(all_.size())))];
  }

 private:
  std::mutex lock_;
  std::vector<double> all_;
};

void compute_until(Clock::time_point end) {
  volatile long sum = 0;
  while (Clock::now() < end) {
    for (int i = 0; i < 1000; ++i) sum = sum + i;
  }
}

}  // namespace

TEST_CASE("While one task computes for 2 s, 1,000 tasks, 100 sockets and 100 timers of its worker go on",
          "[stress]") {
  const auto length = kSlowdown > 1 ? 500ms : 2000ms;
  constexpr int kTasks = scaled(1000);
  constexpr int kSockets = 100;
  constexpr int kTimers = 100;
  Watchdog watchdog("hog");
  fibrio::EventLoop loop(config_of({2, false}));
  watchdog.watch_loop(&loop);
  Latencies steps, sockets, streams, timers;
  std::uint64_t claims = 0;
  bool homed_well = true;
  loop.run_until_complete([&] {
    using fibrio::detail::this_worker;
    std::atomic<bool> over{false};
    std::vector<fibrio::Task<>> all;
    struct Pair {
      int fds[2] = {-1, -1};
      std::atomic<Clock::rep> sent{0};
      ~Pair() {
        for (const int fd : fds) ::close(fd);
      }
    };
    std::vector<Pair> pairs(kSockets / 2);
    std::vector<std::pair<fibrio::TcpStream, fibrio::TcpStream>> connections;
    std::vector<std::unique_ptr<std::atomic<Clock::rep>>> sent;
    auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
    for (int i = 0; i < kSockets / 2; ++i) {
      auto client = fibrio::TcpStream::connect(listener.local_address());
      connections.emplace_back(std::move(client), listener.accept());
      sent.push_back(std::make_unique<std::atomic<Clock::rep>>(0));
    }
    for (Pair& pair : pairs) {
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.fds) != 0) std::abort();
    }
    auto hog = fibrio::create_task([&] {
      fibrio::detail::Worker* home = this_worker();
      // All this is created, and its timers are armed, here; then the worker looks at nothing for the whole
      // time.
      const Clock::time_point start = Clock::now();
      for (int i = 0; i < kTasks; ++i) {
        all.push_back(fibrio::create_task([&, start] {
          steps.add(Clock::now() - start);  // how long it waited for its first step
          Clock::time_point before = Clock::now();
          while (!over) {
            fibrio::sleep(20ms);
            const Clock::time_point now = Clock::now();
            steps.add(now - before - 20ms);
            before = now;
          }
        }));
      }
      for (Pair& pair : pairs) {
        all.push_back(fibrio::create_task([&] {
          for (;;) {
            fibrio::wait_readable(pair.fds[0]);
            const auto latency = Clock::duration(Clock::now().time_since_epoch().count() - pair.sent);
            char byte = 0;
            if (::read(pair.fds[0], &byte, 1) != 1 || byte == 'q') return;
            sockets.add(latency);
          }
        }));
      }
      for (std::size_t i = 0; i < connections.size(); ++i) {
        all.push_back(fibrio::create_task([&, i] {
          std::byte byte{};
          while (connections[i].second.read_some({&byte, 1}) == 1) {
            streams.add(Clock::duration(Clock::now().time_since_epoch().count() - *sent[i]));
          }
        }));
      }
      for (int i = 0; i < kTimers; ++i) {
        const auto delay = length * (i + 1) / (kTimers + 10);
        const fibrio::TimePoint due = fibrio::get_running_loop().time() + delay;
        fibrio::get_running_loop().call_later(
            delay, [&, due] { timers.add(fibrio::get_running_loop().time() - due); });
      }
      homed_well = this_worker() == home && home->timers.size() >= kTimers;
      compute_until(Clock::now() + length);
      over = true;
    });
    // A plain thread writes, so that nothing but readiness wakes the readers.
    std::thread writer([&] {
      while (!over) {
        for (Pair& pair : pairs) {
          pair.sent = Clock::now().time_since_epoch().count();
          if (::write(pair.fds[1], "x", 1) != 1) std::abort();
        }
        for (std::size_t i = 0; i < connections.size(); ++i) {
          *sent[i] = Clock::now().time_since_epoch().count();
          if (::send(connections[i].first.native_handle(), "x", 1, MSG_NOSIGNAL) != 1) std::abort();
        }
        watchdog.progress();
        std::this_thread::sleep_for(50ms);
      }
      for (Pair& pair : pairs) {
        if (::write(pair.fds[1], "q", 1) != 1) std::abort();
      }
    });
    fibrio::await(hog);
    writer.join();
    for (auto& connection : connections) connection.first.shutdown_write();
    for (auto& task : all) fibrio::await(task);
    for (const auto& worker : fibrio::get_running_loop().stats().workers) claims += worker.claims;
  });
  std::printf("hog of %lld ms, 2 workers, %llu claims; latencies:\n", static_cast<long long>(length.count()),
              static_cast<unsigned long long>(claims));
  steps.print("tasks");
  sockets.print("pipes");
  streams.print("streams");
  timers.print("timers");
  CHECK(homed_well);
  CHECK(timers.size() == kTimers);
  // All made progress all the time; half of the samples well within a few looks of the watch.
  const double bound = 1e6 / 2 * (kSlowdown > 1 ? 4 : 1);
  for (Latencies* each : {&steps, &sockets, &streams, &timers}) {
    CHECK(each->size() >= 100);
    CHECK(each->worst() < bound);
    CHECK(each->at(0.5) < bound / 10);
  }
  watchdog.watch_loop(nullptr);
}

TEST_CASE("A task in the LIFO slot behind a hog is taken by another worker", "[stress]") {
  for (int round = 0; round < 5; ++round) {
    std::int64_t waited_ms = 0;
    fibrio::run(
        [&] {
          std::atomic<bool> ran{false};
          auto gate = fibrio::get_running_loop().create_future();
          auto waiter = fibrio::create_task([&] {
            fibrio::await(gate);
            ran = true;
          });
          fibrio::sleep(1ms);
          auto hog = fibrio::create_task([&] {
            gate.set_result();  // readied here: it stands in this worker's slot
            const auto start = Clock::now();
            while (!ran && Clock::now() - start < 5s) {
            }
            waited_ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
          });
          fibrio::await(hog);
          fibrio::await(waiter);
        },
        config_of({2, false}));
    CHECK(waited_ms < 1000);
  }
}
