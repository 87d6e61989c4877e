// What: some questions of the comparison (../questions.py) with plain threads, std::mutex and condition
// variables: what a program without any runtime pays. A thread per task, whatever --workers says; the driver
// pins them.
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using compare::Answer;
using compare::Stopwatch;

template <class T>
class BlockingQueue {
 public:
  explicit BlockingQueue(std::size_t capacity) : capacity_(capacity) {}

  void put(T item) {
    std::unique_lock lock(mutex_);
    not_full_.wait(lock, [&] { return items_.size() < capacity_; });
    items_.push_back(std::move(item));
    lock.unlock();
    not_empty_.notify_one();
  }
  T get() {
    std::unique_lock lock(mutex_);
    not_empty_.wait(lock, [&] { return !items_.empty(); });
    T item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    not_full_.notify_one();
    return item;
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable not_full_;
  std::condition_variable not_empty_;
  std::deque<T> items_;
};

Answer ping_pong(long trips) {  // W3
  BlockingQueue<long> there(1);
  BlockingQueue<long> back(1);
  std::thread echo([&] {
    for (long i = 0; i < trips; ++i) back.put(there.get());
  });
  long sum = 0;
  const Stopwatch watch;
  for (long i = 0; i < trips; ++i) {
    there.put(i);
    sum += back.get();
  }
  const auto spent = watch.spent();
  echo.join();
  return compare::per_unit(spent, static_cast<double>(trips), sum);
}

Answer overshoot(long sleeps) {  // W6
  return compare::overshoot(sleeps, [] { std::this_thread::sleep_for(1ms); });
}

Answer offload(long calls) {  // W11
  BlockingQueue<std::packaged_task<long()>> work(1024);
  std::thread pool([&] {
    for (long i = 0; i < calls; ++i) work.get()();
  });
  long sum = 0;
  const Stopwatch watch;
  for (long i = 0; i < calls; ++i) {
    std::packaged_task<long()> call([] { return 1L; });
    auto result = call.get_future();
    work.put(std::move(call));
    sum += result.get();
  }
  const auto spent = watch.spent();
  pool.join();
  return compare::per_unit(spent, static_cast<double>(calls), sum);
}

Answer many_to_many(long items) {  // W12
  constexpr long kTasks = 4;
  BlockingQueue<long> queue(1024);
  std::vector<long> sums(kTasks);
  std::vector<std::thread> running;
  const long each = items / kTasks;
  const Stopwatch watch;
  for (long& sum : sums) {
    running.emplace_back([&] {
      for (long i = 0; i < each; ++i) queue.put(i);
    });
    running.emplace_back([&] {
      long own = 0;
      for (long i = 0; i < each; ++i) own += queue.get();
      sum = own;
    });
  }
  for (auto& thread : running) thread.join();
  long total = 0;
  for (const long sum : sums) total += sum;
  return compare::per_unit(watch.spent(), static_cast<double>(each * kTasks), total);
}

Answer lock_shared(long each) {  // W14
  constexpr int kTasks = 8;
  std::mutex lock;
  long counter = 0;
  std::vector<std::thread> running;
  const Stopwatch watch;
  for (int t = 0; t < kTasks; ++t) {
    running.emplace_back([&] {
      for (long i = 0; i < each; ++i) {
        const std::lock_guard guard(lock);
        ++counter;
      }
    });
  }
  for (auto& thread : running) thread.join();
  return compare::per_unit(watch.spent(), static_cast<double>(each) * kTasks, counter);
}

constexpr compare::Entry kQuestions[] = {
    {"W3", ping_pong}, {"W6", overshoot}, {"W11", offload}, {"W12", many_to_many}, {"W14", lock_shared},
};

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = compare::parse(argc, argv);
  compare::print(arguments, compare::find(kQuestions, arguments)(arguments.size));
}
