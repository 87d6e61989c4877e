#include "queue/run_queue.hpp"

#include <cstdint>
#include <vector>

#include "queue/inject_queue.hpp"
#include "support/catch.hpp"
#include "unit/queue/items.hpp"

namespace fibrio::detail {
namespace {

// Keeps each overflow as one batch.
struct Batches {
  void push_chain(RunnableChain chain) {
    std::vector<std::size_t> ids;
    const std::size_t count = chain.count;
    while (Runnable* item = chain.pop_front()) ids.push_back(id_of(item));
    counts_are_right &= ids.size() == count;
    batches.push_back(ids);
  }
  std::vector<std::vector<std::size_t>> batches;
  bool counts_are_right = true;
};

constexpr std::size_t kFull = kRunQueueCapacity;

// Counters that do not wrap, and that do.
constexpr std::uint64_t kStarts[] = {0, (std::uint64_t{1} << 24) - 100, std::uint64_t{0} - 100};

std::vector<std::size_t> joined(std::vector<std::size_t> a, const std::vector<std::size_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_CASE("RunQueue is first in, first out, also where its counters wrap", "[run_queue]") {
  for (const std::uint64_t start : kStarts) {
    INFO("start " << start);
    Items items(kFull);
    Batches overflow;
    RunQueue<> queue(start);
    CHECK(queue.empty());
    CHECK(queue.is_empty_seq_cst());
    CHECK(queue.pop_front() == nullptr);
    for (int round = 0; round < 3; ++round) {
      for (std::size_t id = 0; id < kFull; ++id) {
        REQUIRE(queue.room() == kFull - id);
        if (id % 2 == 0) {
          queue.push_back(items[id], overflow);
        } else {
          queue.push_back_quiet(items[id], overflow);
        }
        REQUIRE(queue.size() == id + 1);
        REQUIRE_FALSE(queue.is_empty_seq_cst());
      }
      CHECK(drain(queue) == range(0, kFull));
      CHECK(queue.is_empty_seq_cst());
    }
    CHECK(overflow.batches.empty());
  }
}

TEST_CASE("RunQueue moves its older half and the new item to the overflow when it is full", "[run_queue]") {
  for (const std::uint64_t start : kStarts) {
    INFO("start " << start);
    Items items(kFull + 1);
    Batches overflow;
    RunQueue<> queue(start);
    for (std::size_t id = 0; id <= kFull; ++id) queue.push_back(items[id], overflow);
    CHECK(overflow.counts_are_right);
    REQUIRE(overflow.batches.size() == 1);
    CHECK(overflow.batches[0] == joined(range(0, kFull / 2), {kFull}));
    CHECK(drain(queue) == range(kFull / 2, kFull));
  }
}

TEST_CASE("RunQueue never fails to push: an endless pusher overflows by halves", "[run_queue]") {
  constexpr std::size_t kCount = 100'000;
  Items items(kCount);
  InjectQueue<> inject;
  RunQueue<> queue;
  for (std::size_t id = 0; id < kCount; ++id) queue.push_back(items[id], inject);
  CHECK(queue.size() + inject.size() == kCount);
  std::vector<bool> seen(kCount);
  for (const std::size_t id : joined(drain(queue), drain(inject))) {
    REQUIRE_FALSE(seen[id]);
    seen[id] = true;
  }
}

TEST_CASE("RunQueue::push_chain fills the ring and hands the rest on in order", "[run_queue]") {
  Items items(kFull + 50);
  Batches overflow;
  RunQueue<> queue(kStarts[2]);
  queue.push_chain({}, overflow);
  CHECK(queue.is_empty_seq_cst());
  queue.push_back(items[0], overflow);
  queue.push_chain(items.chain(1, 100), overflow);
  CHECK(overflow.batches.empty());
  CHECK(queue.size() == 100);
  queue.push_chain(items.chain(100, kFull + 50), overflow);
  REQUIRE(overflow.batches.size() == 1);
  CHECK(overflow.batches[0] == range(kFull, kFull + 50));
  CHECK(drain(queue) == range(0, kFull));
}

TEST_CASE("RunQueue::pop_back takes the newest, and leaves the rest in order", "[run_queue]") {
  for (const std::uint64_t start : kStarts) {
    INFO("start " << start);
    Items items(kFull);
    Batches overflow;
    RunQueue<> queue(start);
    CHECK(queue.pop_back() == nullptr);
    CHECK(queue.is_empty_seq_cst());
    for (std::size_t id = 0; id < kFull; ++id) queue.push_back(items[id], overflow);
    for (std::size_t id = kFull; id > 100;) CHECK(id_of(queue.pop_back()) == --id);
    CHECK(queue.size() == 100);
    CHECK(queue.room() == kFull - 100);
    CHECK(id_of(queue.pop_front()) == 0);
    queue.push_back(items[100], overflow);
    CHECK(drain(queue) == range(1, 101));
    CHECK(queue.is_empty_seq_cst());
    CHECK(overflow.batches.empty());
  }
}

TEST_CASE("RunQueue::steal_into takes half, rounded up, the oldest first", "[run_queue]") {
  for (const std::uint64_t start : kStarts) {
    for (const std::size_t count : {1U, 2U, 3U, 100U, 255U, 256U}) {
      INFO("start " << start << ", count " << count);
      Items items(kFull);
      Batches overflow;
      RunQueue<> victim(start);
      RunQueue<> thief(start + 77);
      for (std::size_t id = 0; id < count; ++id) victim.push_back(items[id], overflow);
      Runnable* first = nullptr;
      REQUIRE(victim.steal_into(thief, first) == StealResult::got);
      const std::size_t half = (count + 1) / 2;
      CHECK(id_of(first) == 0);
      CHECK(drain(thief) == range(1, half));
      CHECK(drain(victim) == range(half, count));
    }
  }
}

TEST_CASE("RunQueue::steal_into finds nothing in an empty queue", "[run_queue]") {
  RunQueue<> victim;
  RunQueue<> thief;
  Runnable* first = nullptr;
  CHECK(victim.steal_into(thief, first) == StealResult::none);
  CHECK(first == nullptr);
}

TEST_CASE("RunQueue::steal_into takes no more than the thief has room for", "[run_queue]") {
  Items items(2 * kFull);
  Batches overflow;
  RunQueue<> victim;
  RunQueue<> thief;
  for (std::size_t id = 0; id < kFull; ++id) victim.push_back(items[id], overflow);
  for (std::size_t id = kFull; id < 2 * kFull - 3; ++id) thief.push_back(items[id], overflow);
  Runnable* first = nullptr;
  REQUIRE(victim.steal_into(thief, first) == StealResult::got);
  CHECK(id_of(first) == 0);
  CHECK(thief.room() == 0);
  CHECK(drain(thief) == joined(range(kFull, 2 * kFull - 3), range(1, 4)));
  CHECK(drain(victim) == range(4, kFull));

  for (std::size_t id = 0; id < kFull; ++id) thief.push_back(items[id], overflow);
  victim.push_back(items[kFull], overflow);
  REQUIRE(victim.steal_into(thief, first) == StealResult::got);  // it goes to `first`
  CHECK(id_of(first) == kFull);
  CHECK(drain(thief) == range(0, kFull));
}

TEST_CASE("RunQueue passes stolen items on to the next thief", "[run_queue]") {
  Items items(kFull);
  Batches overflow;
  RunQueue<> victim;
  RunQueue<> thief;
  RunQueue<> thief_of_thief;
  victim.push_chain(items.chain(0, 100), overflow);
  Runnable* first = nullptr;
  REQUIRE(victim.steal_into(thief, first) == StealResult::got);          // 0; 1 to 49
  REQUIRE(thief.steal_into(thief_of_thief, first) == StealResult::got);  // 1; 2 to 25
  CHECK(id_of(first) == 1);
  CHECK(drain(thief_of_thief) == range(2, 26));
  CHECK(drain(thief) == range(26, 50));
}

TEST_CASE("RunQueue::take_all leaves an empty queue", "[run_queue]") {
  Items items(kFull);
  Batches overflow;
  RunQueue<> queue;
  queue.push_chain(items.chain(0, kFull), overflow);
  RunnableChain all = queue.take_all();
  CHECK(all.count == kFull);
  CHECK(drain(all) == range(0, kFull));
  CHECK(queue.is_empty_seq_cst());
}

TEST_CASE("RunQueue works at the smallest capacity", "[run_queue]") {
  Items items(3);
  Batches overflow;
  RunQueue<std::atomic, 2> queue;
  for (std::size_t id = 0; id < 3; ++id) queue.push_back(items[id], overflow);
  REQUIRE(overflow.batches.size() == 1);
  CHECK(overflow.batches[0] == std::vector<std::size_t>{0, 2});
  CHECK(drain(queue) == range(1, 2));
}

}  // namespace fibrio::detail
