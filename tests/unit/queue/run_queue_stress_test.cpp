// Real threads on the ring: one owner that pushes and pops, three thieves that steal from it (and from one
// another), and a sink for what overflows. The model test covers all interleavings of a few operations; this
// covers many operations in the interleavings the machine has.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "queue/inject_queue.hpp"
#include "queue/run_queue.hpp"
#include "support/catch.hpp"
#include "unit/queue/items.hpp"

namespace fibrio::detail {
namespace {

constexpr std::size_t kThieves = 3;

// What one thread ran, in order; checked when all have ended, since Catch's assertions are not thread-safe.
struct Log {
  std::vector<std::size_t> ids;
  bool payload_was_seen = true;
};

// Its constructor runs the stress.
template <std::uint32_t Capacity>
class Stress {
 public:
  Stress(std::size_t count, std::uint64_t seed, std::uint64_t start)
      : items_(count), payload_(count), owner_queue_(start), count_(count) {
    for (auto& queue : thief_queues_) queue = std::make_unique<Queue>(start - 3);
    std::vector<std::thread> threads;
    for (std::size_t thief = 0; thief < kThieves; ++thief) {
      threads.emplace_back([this, thief, seed] { run_thief(thief, seed + thief + 1); });
    }
    run_owner(seed);
    for (auto& thread : threads) thread.join();
  }

  void check() {
    std::vector<bool> seen(count_);
    std::size_t total = 0;
    bool once = true;
    bool payload_was_seen = true;
    for (const Log& log : logs_) {
      total += log.ids.size();
      payload_was_seen &= log.payload_was_seen;
      for (const std::size_t id : log.ids) {
        once &= !seen[id];
        seen[id] = true;
      }
    }
    CHECK(once);
    CHECK(total == count_);
    CHECK(payload_was_seen);
    CHECK(owner_in_order_);
    CHECK(steals_in_order_);
    CHECK(steals_.load() > 0);
    CHECK(owner_queue_.is_empty_seq_cst());
    CHECK(inject_.is_empty_seq_cst());
    for (auto& queue : thief_queues_) CHECK(queue->is_empty_seq_cst());
  }

 private:
  using Queue = RunQueue<std::atomic, Capacity>;

  void ran(Log& log, Runnable* item) {
    const std::size_t id = id_of(item);
    log.payload_was_seen &= payload_[id] == id + 1;  // a plain read: the race detector checks the edge
    log.ids.push_back(id);
    finished_.fetch_add(1, std::memory_order_relaxed);
  }

  [[nodiscard]] bool is_done() const { return finished_.load(std::memory_order_relaxed) == count_; }

  void run_owner(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    Log& log = logs_[kThieves];
    std::size_t pushed = 0;
    std::size_t last = kNoItem;
    while (!is_done()) {
      // Bursts longer than the ring now and then, so that it overflows; a thief gets a chance in between.
      const std::size_t burst = random() % 16 == 0 ? 2 * Capacity : random() % 8;
      for (std::size_t i = 0; i < burst && pushed < count_; ++i, ++pushed) {
        payload_[pushed] = pushed + 1;
        if (random() % 4 == 0) {
          owner_queue_.push_back_quiet(items_[pushed], inject_);
        } else {
          owner_queue_.push_back(items_[pushed], inject_);
        }
      }
      for (std::size_t pops = random() % 8; pops > 0; --pops) {
        Runnable* item = owner_queue_.pop_front();
        if (item == nullptr) break;
        owner_in_order_ &= last == kNoItem || id_of(item) > last;
        last = id_of(item);
        ran(log, item);
      }
      if (Runnable* item = inject_.pop_front()) ran(log, item);
      if (random() % 64 == 0) std::this_thread::yield();
    }
  }

  void run_thief(std::size_t self, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    Log& log = logs_[self];
    Queue& own = *thief_queues_[self];
    while (!is_done()) {
      const std::size_t pick = random() % (kThieves + 2);
      Queue& victim = pick < kThieves && pick != self ? *thief_queues_[pick] : owner_queue_;
      Runnable* first = nullptr;
      const StealResult result = victim.steal_into(own, first);
      if (result == StealResult::none) {
        std::this_thread::yield();
        continue;
      }
      if (result == StealResult::lost_race) continue;
      steals_.fetch_add(1, std::memory_order_relaxed);
      std::size_t last = id_of(first);
      ran(log, first);
      // Leaves something behind now and then, so that the next steal meets a queue that is not empty.
      for (std::size_t left = random() % (Capacity + 4); left > 0; --left) {
        Runnable* item = own.pop_front();
        if (item == nullptr) break;
        if (&victim == &owner_queue_ && own_is_fresh_[self]) {
          if (id_of(item) < last) steals_in_order_.store(false, std::memory_order_relaxed);
        }
        last = id_of(item);
        ran(log, item);
      }
      own_is_fresh_[self] = own.empty();
    }
  }

  Items items_;
  std::vector<std::size_t> payload_;
  Queue owner_queue_;
  std::array<std::unique_ptr<Queue>, kThieves> thief_queues_;
  InjectQueue<> inject_;
  std::size_t count_;
  std::array<Log, kThieves + 1> logs_;
  std::array<bool, kThieves> own_is_fresh_{true, true, true};  // nothing of an earlier steal in it
  bool owner_in_order_ = true;
  std::atomic<bool> steals_in_order_{true};
  std::atomic<std::size_t> steals_{0};
  std::atomic<std::size_t> finished_{0};
};

constexpr std::uint64_t kNearWrap32 = (std::uint64_t{1} << 32) - 1000;
constexpr std::uint64_t kNearWrap64 = std::uint64_t{0} - 1000;

}  // namespace

TEST_CASE("RunQueue gives each item to one thread while thieves steal", "[run_queue]") {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    for (const std::uint64_t start : {kNearWrap32, kNearWrap64}) {
      INFO("seed " << seed << ", start " << start);
      Stress<kRunQueueCapacity>(100'000, seed, start).check();
    }
  }
}

TEST_CASE("RunQueue gives each item to one thread when its slots are reused all the time", "[run_queue]") {
  for (const std::uint64_t seed : {4U, 5U, 6U}) {
    INFO("seed " << seed);
    Stress<4>(100'000, seed, kNearWrap64).check();
  }
}

// Protocol 6 with real threads: a pusher and a parker that miss each other would be a lost wake-up.
TEST_CASE("RunQueue never lets a pusher and a parker miss each other", "[run_queue]") {
  constexpr unsigned kRounds = 20'000;
  Items items(1);
  InjectQueue<> overflow;
  RunQueue<> queue;
  std::atomic<unsigned> idle{0};
  std::atomic<unsigned> parker_round{0};
  std::atomic<unsigned> pusher_round{0};
  unsigned missed = 0;
  bool parker_saw_none = false;

  // Both sides of a round start together; the pusher then compares notes.
  std::thread parker([&] {
    for (unsigned round = 1; round <= kRounds; ++round) {
      while (pusher_round.load(std::memory_order_acquire) < round) {
        spin_pause<std::atomic>();
        if (round % 8 == 0) std::this_thread::yield();
      }
      idle.fetch_add(1, std::memory_order_seq_cst);
      parker_saw_none = queue.is_empty_seq_cst();
      parker_round.store(round, std::memory_order_release);
    }
  });
  for (unsigned round = 1; round <= kRounds; ++round) {
    idle.store(0, std::memory_order_relaxed);
    pusher_round.store(round, std::memory_order_release);
    queue.push_back(items[0], overflow);
    const bool pusher_saw_none = idle.load(std::memory_order_seq_cst) == 0;
    while (parker_round.load(std::memory_order_acquire) < round) std::this_thread::yield();
    if (pusher_saw_none && parker_saw_none) ++missed;
    (void)queue.pop_front();
  }
  parker.join();
  CHECK(missed == 0);
}

}  // namespace fibrio::detail
