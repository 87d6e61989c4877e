#include "queue/inject_queue.hpp"

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "unit/queue/items.hpp"

namespace fibrio::detail {

TEST_CASE("InjectQueue is first in, first out over items and chains", "[inject_queue]") {
  Items items(20);
  InjectQueue<> queue;
  CHECK(queue.empty());
  CHECK(queue.is_empty_seq_cst());
  CHECK(queue.pop_front() == nullptr);
  queue.push(items[0]);
  queue.push_chain(items.chain(1, 10));
  queue.push_chain({});
  queue.push(items[10]);
  queue.push_chain(items.chain(11, 20));
  CHECK(queue.size() == 20);
  CHECK_FALSE(queue.is_empty_seq_cst());
  CHECK(drain(queue) == range(0, 20));
  CHECK(queue.is_empty_seq_cst());
}

TEST_CASE("InjectQueue::pop takes as many as asked for, as far as there are", "[inject_queue]") {
  Items items(10);
  InjectQueue<> queue;
  queue.push_chain(items.chain(0, 10));
  CHECK(queue.pop(0).empty());
  RunnableChain some = queue.pop(4);
  CHECK(some.count == 4);
  CHECK(some.last == items[3]);
  CHECK(drain(some) == range(0, 4));
  CHECK(queue.size() == 6);
  RunnableChain rest = queue.pop(100);
  CHECK(rest.count == 6);
  CHECK(drain(rest) == range(4, 10));
  CHECK(queue.empty());
  CHECK(queue.pop(5).empty());
  queue.push(items[0]);  // the list is whole after it was emptied
  queue.push(items[1]);
  CHECK(drain(queue) == range(0, 2));
}

TEST_CASE("InjectQueue keeps the order of each producer and loses nothing", "[inject_queue]") {
  constexpr std::size_t kProducers = 3;
  constexpr std::size_t kEach = 50'000;
  Items items(kProducers * kEach);
  InjectQueue<> queue;
  std::vector<std::thread> producers;
  for (std::size_t producer = 0; producer < kProducers; ++producer) {
    producers.emplace_back([&, producer] {
      const std::size_t end = (producer + 1) * kEach;
      for (std::size_t id = producer * kEach; id < end;) {
        const std::size_t batch = id % 7;
        if (batch < 2 || id + batch > end) {
          queue.push(items[id++]);
        } else {
          queue.push_chain(items.chain(id, id + batch));
          id += batch;
        }
      }
    });
  }
  std::vector<std::vector<std::size_t>> popped(2);
  std::atomic<std::size_t> taken{0};
  std::vector<std::thread> consumers;
  for (auto& mine : popped) {
    consumers.emplace_back([&] {
      while (taken.load(std::memory_order_relaxed) < kProducers * kEach) {
        RunnableChain chain = queue.pop(1 + mine.size() % 20);
        if (chain.empty()) std::this_thread::yield();
        taken.fetch_add(chain.count, std::memory_order_relaxed);
        while (Runnable* item = chain.pop_front()) mine.push_back(id_of(item));
      }
    });
  }
  for (auto& thread : producers) thread.join();
  for (auto& thread : consumers) thread.join();

  std::vector<bool> seen(kProducers * kEach);
  bool once = true;
  bool in_order = true;
  for (const auto& mine : popped) {
    std::vector<std::size_t> next(kProducers, 0);  // of each producer, as this consumer sees them
    for (const std::size_t id : mine) {
      once &= !seen[id];
      seen[id] = true;
      in_order &= id >= next[id / kEach];
      next[id / kEach] = id + 1;
    }
  }
  CHECK(once);
  CHECK(in_order);
  CHECK(popped[0].size() + popped[1].size() == kProducers * kEach);
  CHECK(queue.is_empty_seq_cst());
}

}  // namespace fibrio::detail
