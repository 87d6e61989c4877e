// Tasks whose handles are resumed by plain threads and by other tasks, at every moment of the suspend; coroutines
// that await tasks. What must hold: every wait ends, once, and sees what the resumer wrote.
#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "stress/stress.hpp"
#include "support/coroutines.hpp"

using namespace fibrio::test;

namespace {

// Handles on their way to the threads that resume them.
class Resumers {
 public:
  explicit Resumers(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Resumers() {
    stopped_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  Resumers(const Resumers&) = delete;
  Resumers& operator=(const Resumers&) = delete;
  void add(std::coroutine_handle<> handle, int* written) {
    const std::lock_guard guard(lock_);
    handles_.emplace_back(handle, written);
  }

 private:
  void work() {
    while (!stopped_) {
      std::pair<std::coroutine_handle<>, int*> next;
      {
        const std::lock_guard guard(lock_);
        if (!handles_.empty()) {
          next = handles_.front();
          handles_.pop_front();
        }
      }
      if (next.first) {
        ++*next.second;
        next.first.resume();
      } else {
        std::this_thread::yield();
      }
    }
  }
  std::mutex lock_;
  std::deque<std::pair<std::coroutine_handle<>, int*>> handles_;
  std::atomic<bool> stopped_{false};
  std::vector<std::thread> threads_;
};

struct ByThread {
  Resumers& resumers;
  int written = 0;
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> handle) { resumers.add(handle, &written); }
  int await_resume() const { return written; }
};

Detached count(fibrio::Task<int> task, std::atomic<long>& sum, std::atomic<int>& ended) {
  sum += co_await std::move(task);
  ++ended;
}

}  // namespace

TEST_CASE("Handles resumed by threads: every wait ends once", "[stress][awaitables]") {
  const int tasks = scaled(200);
  constexpr int kWaits = 40;
  stress("awaitables", [&](Watchdog& watchdog) {
    Expect expect;
    Resumers resumers(3);
    std::atomic<int> waits{0};
    std::vector<fibrio::Task<>> all;
    for (int t = 0; t < tasks; ++t) {
      all.push_back(fibrio::create_task([&, t] {
        Random random(static_cast<std::uint64_t>(t));
        for (int i = 0; i < kWaits; ++i) {
          expect(fibrio::await(ByThread{resumers}) == 1, "resumed once");
          ++waits;
          if (random.below(8) == 0) fibrio::yield();
        }
      }));
    }
    // Cancels in between must neither end such a wait nor be lost.
    Random random(1'000'000);
    for (int i = 0; i < tasks / 4; ++i) {
      all[static_cast<std::size_t>(random.below(tasks))].cancel();
      fibrio::yield();
      watchdog.progress();
    }
    for (const auto& task : all) {
      while (!task.done()) task.wait();
    }
    int finished = 0;
    for (const auto& task : all) finished += task.cancelled() ? 0 : 1;
    expect(waits >= finished * kWaits, "a task that ended well waited as often as it should");
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("Coroutines that await tasks of all workers: each goes on once", "[stress][awaitables]") {
  const int coroutines = scaled(5000);
  stress("coroutines", [&](Watchdog& watchdog) {
    std::atomic<long> sum{0};
    std::atomic<int> ended{0};
    for (int i = 0; i < coroutines; ++i) {
      count(fibrio::create_task([i] {
              if (i % 3 == 0) fibrio::yield();
              return 1;
            }),
            sum, ended);
      if (i % 64 == 0) {
        fibrio::yield();
        watchdog.progress();
      }
    }
    while (ended < coroutines) fibrio::yield();
    CHECK(sum == coroutines);
  });
}
