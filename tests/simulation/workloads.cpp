#include "simulation/workloads.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <queue>
#include <random>
#include <span>
#include <utility>

#include "fibrio/fibrio.hpp"
#include "loop/loop_impl.hpp"
#include "simulation/kernel.hpp"

namespace fibrio::simulation {

namespace {

constexpr Nanos kSpawn = 100;  // for who creates a task
constexpr Nanos kSwitch = 30;  // to a task that was suspended

Config config_of(const Setting& setting) {
  Config config;
  config.workers = setting.workers;
  config.seed = setting.seed;
  return config;
}

// One workload on one machine.
class Trial {
 public:
  explicit Trial(const Setting& setting)
      : machine(setting.costs), kernel(machine), loop(config_of(setting)) {}

  // `main` is a task; when it ends the workers stop.
  template <class Main>
  Report run(Main main) {
    const Nanos begin = machine.now();
    Nanos end = begin;
    Task<> task = loop.create_task([&] {
      main();
      end = machine.now();
      loop.stop();
    });
    detail::Scheduler& scheduler = detail::LoopAccess::impl(loop).scheduler;
    machine.run(scheduler);
    await(task);
    report.workers = scheduler.size();
    report.makespan = end - begin;
    const Nanos shared = machine.totals.worked / static_cast<Nanos>(scheduler.size());
    report.ideal = std::max(report.ideal, shared);
    report.totals = machine.totals;
    count(1);
    std::sort(report.waits.begin(), report.waits.end());
    return std::move(report);
  }

  template <class F>
  auto spawn(F body) {
    machine.work(kSpawn);
    return create_task([this, body = std::move(body), ready = machine.now()]() mutable {
      waited_since(ready);
      return body();
    });
  }
  void waited_since(Nanos ready) {
    report.waits.push_back(machine.now() - ready);
    machine.work(kSwitch);
  }

  // Leaves out what was until now, but for the trace.
  void begin_measuring() {
    machine.totals = {.trace = machine.totals.trace};
    count(-1);
  }

  Machine machine;
  Kernel kernel;
  EventLoop loop;
  Report report;

 private:
  // Adds the workers' counters, or takes them away.
  void count(int sign) {
    const detail::Scheduler& scheduler = detail::LoopAccess::impl(loop).scheduler;
    for (std::size_t i = 0; i < scheduler.size(); ++i) {
      const auto& counters = scheduler.worker(i).counters;
      report.stolen += static_cast<std::uint64_t>(sign) * counters.stolen.get();
      report.parks += static_cast<std::uint64_t>(sign) * counters.parks.get();
      report.searches += static_cast<std::uint64_t>(sign) * counters.searches.get();
      report.failed_searches += static_cast<std::uint64_t>(sign) * counters.failed_searches.get();
    }
  }
};

void grow(Trial& trial, int depth, Nanos leaf) {
  if (depth == 0) return trial.machine.work(leaf);
  auto left = trial.spawn([&trial, depth, leaf] { grow(trial, depth - 1, leaf); });
  auto right = trial.spawn([&trial, depth, leaf] { grow(trial, depth - 1, leaf); });
  await(left);
  await(right);
  trial.machine.work(kSwitch);
}

}  // namespace

Nanos quantile(const std::vector<Nanos>& sorted, double part) noexcept {
  if (sorted.empty()) return 0;
  const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

Report fork_join(const Setting& setting) {
  constexpr int kDepth = 14;
  constexpr Nanos kLeaf = 5'000;
  Trial trial(setting);
  trial.report.tasks = (2U << kDepth) - 2;
  trial.report.ideal = kDepth * (2 * kSpawn + 2 * kSwitch) + kLeaf;
  return trial.run([&] { grow(trial, kDepth, kLeaf); });
}

Report one_producer(const Setting& setting) {
  constexpr int kTasks = 20'000;
  constexpr Nanos kWork = 5'000;
  Trial trial(setting);
  trial.report.tasks = kTasks;
  trial.report.ideal = kTasks * kSpawn + kSwitch + kWork;
  return trial.run([&] {
    std::vector<Task<>> tasks;
    tasks.reserve(kTasks);
    for (int i = 0; i < kTasks; ++i) tasks.push_back(trial.spawn([&] { trial.machine.work(kWork); }));
    for (const auto& task : tasks) await(task);
  });
}

Report ping_pong(const Setting& setting) {
  constexpr int kRounds = 500;
  constexpr Nanos kTurn = 500;
  struct Pair {
    Semaphore mine{0}, yours{0};
    Nanos ready = 0;
  };
  Trial trial(setting);
  std::deque<Pair> pairs(2 * setting.workers);
  trial.report.tasks = pairs.size() * kRounds * 2;
  trial.report.ideal = kRounds * 2 * (kTurn + kSwitch);
  return trial.run([&] {
    const auto play = [&trial](Pair& pair, Semaphore& mine, Semaphore& yours) {
      for (int i = 0; i < kRounds; ++i) {
        mine.acquire();
        trial.waited_since(pair.ready);
        trial.machine.work(kTurn);
        pair.ready = trial.machine.now();
        yours.release();
      }
    };
    std::vector<Task<>> tasks;
    for (Pair& pair : pairs) {
      tasks.push_back(trial.spawn([&] { play(pair, pair.mine, pair.yours); }));
      tasks.push_back(trial.spawn([&] { play(pair, pair.yours, pair.mine); }));
      pair.ready = trial.machine.now();
      pair.mine.release();
    }
    for (const auto& task : tasks) await(task);
  });
}

Report all_yield(const Setting& setting) {
  constexpr int kYields = 200;
  constexpr Nanos kStep = 300;
  Trial trial(setting);
  const std::size_t count = 16 * setting.workers;
  trial.report.tasks = count * kYields;
  trial.report.ideal = kYields * (kStep + kSwitch);
  return trial.run([&] {
    std::vector<Task<>> tasks;
    for (std::size_t i = 0; i < count; ++i) {
      tasks.push_back(trial.spawn([&trial] {
        for (int k = 0; k < kYields; ++k) {
          trial.machine.work(kStep);
          const Nanos ready = trial.machine.now();
          yield();
          trial.waited_since(ready);
        }
      }));
    }
    for (const auto& task : tasks) await(task);
  });
}

Report surprise(const Setting& setting) {
  constexpr int kRounds = 20;
  constexpr int kShortTasks = 500;
  constexpr Nanos kShortStep = 200;
  constexpr Nanos kLongStep = 10'000'000;
  Trial trial(setting);
  Machine& machine = trial.machine;
  trial.report.tasks = kRounds;
  trial.report.ideal = kRounds * (kShortTasks * kShortStep + kSpawn + kLongStep);
  return trial.run([&] {
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < kShortTasks; ++i) await(create_task([&machine] { machine.work(kShortStep); }));
      auto one_more = trial.spawn([&machine] { machine.work(10'000); });
      machine.work(kLongStep);
      await(one_more);
    }
  });
}

namespace {

constexpr Nanos kShort = 10'000;

struct Arrival {
  Nanos time;  // from the first one's
  std::size_t connection;
  Nanos work;
};

std::vector<Arrival> arrivals_of(const Setting& setting, double load, const Mix& long_ones,
                                 std::size_t connections, Nanos overhead) {
  std::mt19937_64 random(setting.seed);
  const double mean =
      static_cast<double>(kShort + overhead) + long_ones.part * static_cast<double>(long_ones.work - kShort);
  std::exponential_distribution<double> gap(load * static_cast<double>(setting.workers) / mean);
  std::uniform_int_distribution<std::size_t> connection(0, connections - 1);
  std::bernoulli_distribution is_long(long_ones.part);
  std::vector<Arrival> arrivals(2'000 * setting.workers);
  double time = 0;
  for (Arrival& arrival : arrivals) {
    arrival = {static_cast<Nanos>(time), connection(random), is_long(random) ? long_ones.work : kShort};
    time += gap(random);
  }
  return arrivals;
}

// With one queue for all workers, which costs nothing.
std::vector<Nanos> waits_in_one_queue(const std::vector<Arrival>& arrivals, std::size_t workers,
                                      Nanos overhead) {
  std::priority_queue<Nanos, std::vector<Nanos>, std::greater<>> free_at;
  for (std::size_t i = 0; i < workers; ++i) free_at.push(0);
  std::vector<Nanos> waits;
  for (const Arrival& arrival : arrivals) {
    const Nanos begin = std::max(arrival.time, free_at.top());
    free_at.pop();
    free_at.push(begin + arrival.work + overhead);
    waits.push_back(begin - arrival.time);
  }
  std::sort(waits.begin(), waits.end());
  return waits;
}

void serve(Trial& trial, int fd) {
  TcpStream stream = TcpStream::adopt(fd);
  std::array<Message, 8> messages;
  for (;;) {
    const std::size_t size = stream.read_some(std::as_writable_bytes(std::span(messages)));
    if (size == 0) return;
    for (const Message& message : std::span(messages).first(size / sizeof(Message))) {
      trial.waited_since(message.sent);
      trial.machine.work(message.work);
      stream.write_all(std::as_bytes(std::span(&message, 1)));
    }
  }
}

}  // namespace

Report requests(const Setting& setting, double load, const Mix& long_ones) {
  Trial trial(setting);
  Machine& machine = trial.machine;
  const Nanos overhead = kSwitch + setting.costs.receive + setting.costs.send;
  std::vector<int> sockets;
  std::size_t answers = 0;
  for (std::size_t i = 0; i < 64 * setting.workers; ++i) {
    sockets.push_back(trial.kernel.make_socket([&answers] { ++answers; }));
  }
  const std::vector<Arrival> arrivals = arrivals_of(setting, load, long_ones, sockets.size(), overhead);
  trial.report.tasks = arrivals.size();
  trial.report.ideal = arrivals.back().time + arrivals.back().work;
  trial.report.ideal_waits = waits_in_one_queue(arrivals, setting.workers, overhead);
  std::size_t sent = 0;
  Nanos begin = 0;
  std::function<void()> send_next = [&] {
    const Arrival& arrival = arrivals[sent];
    trial.kernel.deliver(sockets[arrival.connection], {begin + arrival.time, arrival.work});
    if (++sent < arrivals.size()) return machine.at(begin + arrivals[sent].time, send_next);
    for (const int fd : sockets) trial.kernel.hang_up(fd);
  };
  Report report = trial.run([&] {
    std::vector<Task<>> tasks;
    for (const int fd : sockets) tasks.push_back(create_task([&trial, fd] { serve(trial, fd); }));
    sleep(std::chrono::milliseconds(5));  // all wait for their first request
    const LoopStats stats = trial.loop.stats();
    for (const WorkerStats& worker : stats.workers) {
      trial.report.most_connections = std::max(trial.report.most_connections, worker.fds);
    }
    trial.begin_measuring();  // without the burst of new connections
    begin = machine.now();
    machine.at(begin, send_next);
    for (const auto& task : tasks) await(task);
  });
  report.makespan -= begin - 1'000'000'000;
  return report;
}

}  // namespace fibrio::simulation
