// What: the compute questions of the comparison (../questions.py) on fibrio, by its public API, as its tour
// would have a user write them. Settings are the defaults but for the number of workers: stacks of 256 KiB
// with guards. With --eager before the question, W1, W4 and W10 start their tasks eagerly
// (TaskOptions::eager_start): a task that does not have to wait then runs to its end inside of create_task.
#include "fibrio/fibrio.hpp"

#include <atomic>
#include <memory>
#include <mutex>

#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using compare::Answer;
using compare::Stopwatch;
using fibrio::await;
using fibrio::create_task;

template <class T>
using Tasks = std::vector<fibrio::Task<T>>;

bool eager = false;

template <class F, class... A>
auto start(F function, A... arguments) {
  if (eager) return create_task(fibrio::TaskOptions{.eager_start = true}, function, arguments...);
  return create_task(function, arguments...);
}

void await_all(const Tasks<void>& tasks) {
  for (const auto& task : tasks) await(task);
}
long sum_of(Tasks<long>& tasks) {
  long sum = 0;
  for (auto& task : tasks) sum += await(std::move(task));
  return sum;
}

Answer spawn_and_join(long rounds) {  // W1
  constexpr int kTasks = 100;
  long joined = 0;
  Tasks<void> tasks;
  tasks.reserve(kTasks);
  const Stopwatch watch;
  for (long round = 0; round < rounds; ++round) {
    for (int i = 0; i < kTasks; ++i) tasks.push_back(start([] {}));
    for (const auto& task : tasks) await(task), ++joined;
    tasks.clear();
  }
  return compare::per_unit(watch.spent(), static_cast<double>(rounds) * kTasks, joined);
}

Answer yields(int count, long each) {
  Tasks<long> tasks;
  const Stopwatch watch;
  for (int i = 0; i < count; ++i) {
    tasks.push_back(create_task([each] {
      long done = 0;
      for (; done < each; ++done) fibrio::yield();
      return done;
    }));
  }
  const long sum = sum_of(tasks);
  return compare::per_unit(watch.spent(), static_cast<double>(count) * static_cast<double>(each), sum);
}
Answer yield_many(long each) { return yields(1'000, each); }  // W2
Answer yield_two(long each) { return yields(2, each); }       // W2b

Answer ping_pong(long trips) {  // W3
  fibrio::Queue<long> there(1);
  fibrio::Queue<long> back(1);
  const auto echo = create_task([&] {
    for (long i = 0; i < trips; ++i) back.put(there.get());
  });
  long sum = 0;
  const Stopwatch watch;
  for (long i = 0; i < trips; ++i) {
    there.put(i);
    sum += back.get();
  }
  const auto spent = watch.spent();
  await(echo);
  return compare::per_unit(spent, static_cast<double>(trips), sum);
}

long skynet_node(long base, long leaves) {
  constexpr long kFanOut = 10;
  if (leaves == 1) return base;
  Tasks<long> children;
  children.reserve(kFanOut);
  const long share = leaves / kFanOut;
  for (long i = 0; i < kFanOut; ++i) children.push_back(start(skynet_node, base + i * share, share));
  return sum_of(children);
}
Answer skynet(long leaves) {  // W4
  const Stopwatch watch;
  const long sum = await(start(skynet_node, 0L, leaves));
  return compare::in_ms(watch.spent(), sum);
}

Answer sleep_many(long count) {  // W5
  Tasks<long> tasks;
  tasks.reserve(static_cast<std::size_t>(count));
  const Stopwatch watch;
  for (long i = 0; i < count; ++i) {
    tasks.push_back(create_task([i] {
      fibrio::sleep((1 + i * 7919 % 1000) * 1ms);
      return 1L;
    }));
  }
  const long woken = sum_of(tasks);
  const auto spent = watch.spent();
  return {spent.cpu_ns / 1e9, spent.cpu_ns / 1e9, woken, compare::pair("wall_s", spent.wall_ns / 1e9)};
}

Answer overshoot(long sleeps) {  // W6
  return compare::overshoot(sleeps, [] { fibrio::sleep(1ms); });
}

Answer parked_memory(long count) {  // W7
  fibrio::Event event;
  std::atomic<long> parked{0};
  Tasks<long> tasks;
  tasks.reserve(static_cast<std::size_t>(count));
  const auto before = compare::memory();
  for (long i = 0; i < count; ++i) {
    tasks.push_back(create_task([&] {
      parked.fetch_add(1, std::memory_order_relaxed);
      event.wait();
      return 1L;
    }));
  }
  while (parked.load(std::memory_order_relaxed) < count) fibrio::sleep(10ms);
  fibrio::sleep(10ms);
  const auto after = compare::memory();
  event.set();
  const long woken = sum_of(tasks);
  const auto units = static_cast<double>(count);
  return {(after.resident - before.resident) / units, 0, woken,
          compare::pair("page_tables", (after.page_tables - before.page_tables) / units)};
}

long fib(long n) {
  if (n < 2) return n;
  auto child = start(fib, n - 1);
  const long other = fib(n - 2);
  return await(std::move(child)) + other;
}
Answer fork_join(long n) {  // W10
  const Stopwatch watch;
  const long result = fib(n);
  return compare::in_ms(watch.spent(), result);
}

Answer offload(long calls) {  // W11
  long sum = 0;
  const Stopwatch watch;
  for (long i = 0; i < calls; ++i) sum += fibrio::to_thread([] { return 1L; });
  return compare::per_unit(watch.spent(), static_cast<double>(calls), sum);
}

Answer many_to_many(long items) {  // W12
  constexpr long kTasks = 4;
  fibrio::Queue<long> queue(1024);
  Tasks<void> producers;
  Tasks<long> consumers;
  const long each = items / kTasks;
  const Stopwatch watch;
  for (long t = 0; t < kTasks; ++t) {
    producers.push_back(create_task([&] {
      for (long i = 0; i < each; ++i) queue.put(i);
    }));
    consumers.push_back(create_task([&] {
      long sum = 0;
      for (long i = 0; i < each; ++i) sum += queue.get();
      return sum;
    }));
  }
  await_all(producers);
  const long sum = sum_of(consumers);
  return compare::per_unit(watch.spent(), static_cast<double>(each * kTasks), sum);
}

Answer cancel_many(long count) {  // W13
  Tasks<void> tasks;
  tasks.reserve(static_cast<std::size_t>(count));
  std::atomic<long> asleep{0};
  for (long i = 0; i < count; ++i) {
    tasks.push_back(create_task([&] {
      asleep.fetch_add(1, std::memory_order_relaxed);
      fibrio::sleep(1h);
    }));
  }
  while (asleep.load(std::memory_order_relaxed) < count) fibrio::sleep(10ms);
  fibrio::sleep(10ms);
  long cancelled = 0;
  const Stopwatch watch;
  for (auto& task : tasks) task.cancel();
  for (const auto& task : tasks) {
    task.wait();
    if (task.cancelled()) ++cancelled;
  }
  return compare::per_unit(watch.spent(), static_cast<double>(count), cancelled);
}

Answer lock_shared(long each) {  // W14
  constexpr int kTasks = 8;
  fibrio::Lock lock;
  long counter = 0;
  Tasks<void> tasks;
  const Stopwatch watch;
  for (int t = 0; t < kTasks; ++t) {
    tasks.push_back(create_task([&] {
      for (long i = 0; i < each; ++i) {
        const std::lock_guard guard(lock);
        ++counter;
      }
    }));
  }
  await_all(tasks);
  return compare::per_unit(watch.spent(), static_cast<double>(each) * kTasks, counter);
}

constexpr compare::Entry kQuestions[] = {
    {"W1", spawn_and_join}, {"W2", yield_many},   {"W2b", yield_two},    {"W3", ping_pong},  {"W4", skynet},
    {"W5", sleep_many},     {"W6", overshoot},    {"W7", parked_memory}, {"W10", fork_join}, {"W11", offload},
    {"W12", many_to_many},  {"W13", cancel_many}, {"W14", lock_shared},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--eager") {
    eager = true;
    --argc, ++argv;
  }
  const auto arguments = compare::parse(argc, argv);
  const auto question = compare::find(kQuestions, arguments);
  fibrio::Config config;
  config.workers = static_cast<std::size_t>(arguments.workers);
  compare::print(arguments, fibrio::run([&] { return question(arguments.size); }, config));
}
