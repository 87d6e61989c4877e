// Real threads on the ring: one owner that pushes and pops, three thieves that steal from it (and from one
// another), and a sink for what overflows. The model test covers all interleavings of a few operations; this
// covers many operations in the interleavings the machine has.
#include <sched.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
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
  bool in_order = true;  // what one steal brought was run in its order
  std::size_t steals = 0;
  std::size_t lost_races = 0;
  std::size_t nones = 0;
};

// xorshift: cheap enough not to keep the threads apart.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U) {}
  std::uint64_t below(std::uint64_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return (state_ >> 32) % limit;
  }

 private:
  std::uint64_t state_;
};

// The owner gets the first CPU for itself, thieves the others. Short threads all start on the CPU of their
// maker and would end before the system spreads them: they would take turns instead of racing.
void pin(bool is_owner, std::size_t index) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  std::vector<std::size_t> cpus;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  if (cpus.size() < 2) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(is_owner ? cpus[0] : cpus[1 + index % (cpus.size() - 1)], &one);
  (void)::sched_setaffinity(0, sizeof one, &one);  // a hint: the test is right without it
}

enum class OwnerTakes { kOldest, kEither };

// Its constructor runs the stress.
template <std::uint32_t Capacity>
class Stress {
 public:
  Stress(std::size_t count, std::uint64_t seed, std::uint64_t start, OwnerTakes takes = OwnerTakes::kOldest)
      : items_(count), payload_(count), owner_queue_(start), count_(count), takes_(takes) {
    for (auto& queue : thief_queues_) queue = std::make_unique<Queue>(start - 3);
    std::vector<std::thread> threads;
    for (std::size_t thief = 0; thief < kThieves; ++thief) {
      threads.emplace_back([this, thief, seed] { run_thief(thief, seed + thief + 1); });
    }
    threads.emplace_back([this, seed] { run_owner(seed); });
    for (auto& thread : threads) thread.join();
  }

  void check() {
    std::vector<bool> seen(count_);
    std::size_t total = 0;
    bool once = true;
    bool payload_was_seen = true;
    bool in_order = true;
    std::size_t steals = 0;
    for (const Log& log : logs_) {
      total += log.ids.size();
      payload_was_seen &= log.payload_was_seen;
      in_order &= log.in_order;
      steals += log.steals;
      for (const std::size_t id : log.ids) {
        once &= !seen[id];
        seen[id] = true;
      }
    }
    CHECK(once);
    CHECK(total == count_);
    CHECK(payload_was_seen);
    CHECK(owner_in_order_);
    CHECK(in_order);
    CHECK(steals > 0);
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
  }

  // Called right after a push: there is something to steal, or a thief has it.
  void wait_for_a_steal() const {
    while (!stolen_.load(std::memory_order_relaxed)) std::this_thread::yield();
  }

  // Little else than pushes and pops, so that they meet the thieves' CASes as often as can be.
  void run_owner(std::uint64_t seed) {
    pin(true, 0);
    Random random(seed);
    Log& log = logs_[kThieves];
    log.ids.reserve(count_);
    std::size_t pushed = 0;
    std::size_t last = kNoItem;
    const auto pop = [&] {
      const bool oldest = takes_ == OwnerTakes::kOldest || random.below(2) == 0;
      Runnable* item = oldest ? owner_queue_.pop_front() : owner_queue_.pop_back();
      if (item == nullptr) return !oldest;
      if (oldest) {
        owner_in_order_ &= last == kNoItem || id_of(item) > last;
        last = id_of(item);
      }
      ran(log, item);
      return true;
    };
    while (pushed < count_) {
      // Mostly near empty, where owner and thieves want the same item; now and then longer than the ring.
      const std::uint64_t burst = random.below(64) == 0 ? 2 * Capacity : 1 + random.below(3);
      for (std::uint64_t i = 0; i < burst && pushed < count_; ++i, ++pushed) {
        payload_[pushed] = pushed + 1;
        if (pushed % 4 == 0) {
          owner_queue_.push_back_quiet(items_[pushed], inject_);
        } else {
          owner_queue_.push_back(items_[pushed], inject_);
        }
      }
      if (pushed >= count_ / 2) wait_for_a_steal();  // a busy machine may not have run a thief yet
      for (std::uint64_t pops = random.below(4); pops > 0 && pop(); --pops) {
      }
      if (pushed % 64 == 0) {
        if (Runnable* item = inject_.pop_front()) ran(log, item);
      }
      if (random.below(4096) == 0) std::this_thread::yield();
    }
    while (pop()) {
    }
    while (Runnable* item = inject_.pop_front()) ran(log, item);
    done_.store(true, std::memory_order_release);
  }

  void run_thief(std::size_t self, std::uint64_t seed) {
    pin(false, self);
    Random random(seed);
    Log& log = logs_[self];
    log.ids.reserve(count_);
    Queue& own = *thief_queues_[self];
    while (!done_.load(std::memory_order_acquire)) {
      const std::size_t pick = static_cast<std::size_t>(random.below(kThieves + 5));
      Queue& victim = pick < kThieves && pick != self ? *thief_queues_[pick] : owner_queue_;
      // The owner's items are in the order of their ids; a thief's queue may hold what is left of two steals, the
      // later one from another thief, with older items.
      const bool is_ordered = own.empty() && &victim == &owner_queue_;
      Runnable* first = nullptr;
      const StealResult result = victim.steal_into(own, first);
      if (result != StealResult::got) {
        (result == StealResult::none ? log.nones : log.lost_races) += 1;
        if (log.nones % 256 == 255) std::this_thread::yield();
        continue;
      }
      if (log.steals++ == 0) stolen_.store(true, std::memory_order_relaxed);
      std::size_t last = id_of(first);
      ran(log, first);
      // Leaves something behind now and then, so that the next steal meets a queue that is not empty.
      for (std::uint64_t left = random.below(Capacity + 4); left > 0; --left) {
        Runnable* item = own.pop_front();
        if (item == nullptr) break;
        if (is_ordered && id_of(item) < last) log.in_order = false;
        last = id_of(item);
        ran(log, item);
      }
    }
    while (Runnable* item = own.pop_front()) ran(log, item);
  }

  Items items_;
  std::vector<std::size_t> payload_;
  Queue owner_queue_;
  std::array<std::unique_ptr<Queue>, kThieves> thief_queues_;
  InjectQueue<> inject_;
  std::size_t count_;
  OwnerTakes takes_;
  std::array<Log, kThieves + 1> logs_;
  bool owner_in_order_ = true;
  std::atomic<bool> stolen_{false};
  std::atomic<bool> done_{false};
};

// Spins shortly, so that both sides go at once where there are two CPUs; then lets the other have this one.
void wait_for_round(const std::atomic<unsigned>& word, unsigned round) {
  int looks = 0;
  while (word.load(std::memory_order_acquire) < round) {
    spin_pause<std::atomic>();
    if (++looks % 2000 == 0) std::this_thread::yield();
  }
}

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define QUEUE_TEST_IS_SLOW
#endif
#elif defined(__SANITIZE_THREAD__)
#define QUEUE_TEST_IS_SLOW
#endif
#ifdef QUEUE_TEST_IS_SLOW
constexpr std::size_t kItems = 60'000;
#else
constexpr std::size_t kItems = 500'000;
#endif

constexpr std::uint64_t kFarFromWrap = 1000;
constexpr std::uint64_t kNearWrap = (std::uint64_t{1} << 24) - 1000;

}  // namespace

TEST_CASE("RunQueue gives each item to one thread while thieves steal", "[run_queue]") {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    for (const std::uint64_t start : {kFarFromWrap, kNearWrap}) {
      INFO("seed " << seed << ", start " << start);
      Stress<kRunQueueCapacity>(kItems, seed, start).check();
    }
  }
}

TEST_CASE("RunQueue gives each item to one thread when its slots are reused all the time", "[run_queue]") {
  for (const std::uint64_t seed : {4U, 5U, 6U}) {
    INFO("seed " << seed);
    Stress<4>(kItems, seed, kNearWrap).check();
  }
}

TEST_CASE("RunQueue gives each item to one thread when its owner takes back, too", "[run_queue]") {
  for (const std::uint64_t seed : {7U, 8U, 9U}) {
    INFO("seed " << seed);
    Stress<kRunQueueCapacity>(kItems, seed, kNearWrap, OwnerTakes::kEither).check();
    Stress<4>(kItems, seed, kNearWrap, OwnerTakes::kEither).check();
  }
}

// Protocol 6 with real threads: a pusher and a parker that miss each other would be a lost wake-up.
TEST_CASE("RunQueue never lets a pusher and a parker miss each other", "[run_queue]") {
  constexpr unsigned kRounds = 50'000;
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
    pin(false, 0);
    for (unsigned round = 1; round <= kRounds; ++round) {
      wait_for_round(pusher_round, round);
      idle.fetch_add(1, std::memory_order_seq_cst);
      parker_saw_none = queue.is_empty_seq_cst();
      parker_round.store(round, std::memory_order_release);
    }
  });
  std::thread pusher([&] {
    pin(true, 0);
    for (unsigned round = 1; round <= kRounds; ++round) {
      idle.store(0, std::memory_order_relaxed);
      pusher_round.store(round, std::memory_order_release);
      queue.push_back(items[0], overflow);
      const bool pusher_saw_none = idle.load(std::memory_order_seq_cst) == 0;
      wait_for_round(parker_round, round);
      if (pusher_saw_none && parker_saw_none) ++missed;
      (void)queue.pop_front();
    }
  });
  pusher.join();
  parker.join();
  CHECK(missed == 0);
}

}  // namespace fibrio::detail
