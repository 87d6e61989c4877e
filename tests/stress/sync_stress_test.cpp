// Locks and queues with everything at once: random holds, cancels from tasks and plain threads. What must
// hold: permits and items are neither lost nor doubled, one at a time inside a lock, order per producer.
#include <memory>
#include <mutex>
#include <thread>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

// With so many tasks more workers than CPUs matter most where a worker stops inside a critical section.
std::vector<Setup> several_workers() {
  return {{1, false}, {2, false}, {4, false}, {8, false}, {2, true}, {4, true}};
}

// Ends a task that may have been cancelled, however often it is asked to.
template <class T>
void wait_until_done(const fibrio::Task<T>& task) {
  while (!task.done()) task.wait();
}

}  // namespace

TEST_CASE("Semaphore and Lock under random cancels: never too many inside, no permit lost",
          "[stress][sync]") {
  const int rounds = scaled(40);
  stress(
      "semaphore",
      [&](Watchdog& watchdog) {
        Expect expect;
        for (int round = 0; round < rounds; ++round) {
          Random random(static_cast<std::uint64_t>(round));
          const int permits = 1 + random.below(4);
          fibrio::BoundedSemaphore semaphore(permits);
          fibrio::Lock lock;
          std::atomic<int> inside{0};
          std::atomic<int> entered{0};
          int counter = 0;  // the lock's
          constexpr int kTasks = 40;
          std::vector<fibrio::Task<>> tasks;
          for (int t = 0; t < kTasks; ++t) {
            tasks.push_back(fibrio::create_task([&, t, round] {
              Random choice(static_cast<std::uint64_t>(100'000 + round * kTasks + t));
              for (int i = 0; i < 30; ++i) {
                semaphore.acquire();
                struct Leave {
                  fibrio::BoundedSemaphore& semaphore;
                  std::atomic<int>& inside;
                  ~Leave() {
                    --inside;
                    semaphore.release();
                  }
                };
                expect(++inside <= permits, "more inside than permits");
                const Leave leave{semaphore, inside};
                if (choice.below(3) == 0) fibrio::yield();
                const std::lock_guard guard(lock);
                ++entered;
                const int before = counter;
                if (choice.below(4) == 0) fibrio::yield();
                counter = before + 1;
                // A cancel in that yield would lose one count: only what was counted is compared.
              }
            }));
          }
          std::thread killer([&] {
            Random choice(static_cast<std::uint64_t>(200'000 + round));
            for (int i = 0; i < kTasks; ++i)
              tasks[static_cast<std::size_t>(choice.below(kTasks / 2))].cancel();
          });
          for (int i = 0; i < 10; ++i) {
            fibrio::yield();
            tasks[static_cast<std::size_t>(random.below(kTasks / 2))].cancel();
          }
          killer.join();
          int cancelled = 0;
          for (const auto& task : tasks) {
            wait_until_done(task);
            cancelled += task.cancelled() ? 1 : 0;
          }
          expect(counter <= entered && counter >= entered - cancelled, "two were inside the lock at once");
          expect(inside == 0 && !lock.locked(), "somebody is still inside");
          for (int i = 0; i < permits; ++i) expect(semaphore.try_acquire(), "a permit was lost");
          expect(!semaphore.try_acquire(), "a permit was doubled");
          watchdog.progress();
        }
        REQUIRE(expect.failures() == "");
      },
      several_workers());
}

TEST_CASE("Queue under random cancels: every item comes out once, each producer's in order",
          "[stress][sync]") {
  const int rounds = scaled(40);
  stress(
      "queue",
      [&](Watchdog& watchdog) {
        Expect expect;
        for (int round = 0; round < rounds; ++round) {
          Random random(static_cast<std::uint64_t>(1000 + round));
          constexpr int kProducers = 6;
          constexpr int kConsumers = 6;
          constexpr int kItems = 200;
          struct Item {
            int producer;
            int number;
          };
          fibrio::Queue<std::unique_ptr<Item>> queue(static_cast<std::size_t>(random.below(8)));
          std::atomic<int> put[kProducers] = {};           // items that are in for sure: put() returned
          std::vector<std::vector<Item>> got(kConsumers);  // each consumer's own
          std::vector<fibrio::Task<>> producers;
          std::vector<fibrio::Task<>> consumers;
          for (int p = 0; p < kProducers; ++p) {
            producers.push_back(fibrio::create_task([&, p, round] {
              Random choice(static_cast<std::uint64_t>(300'000 + round * kProducers + p));
              for (int i = 0; i < kItems; ++i) {
                if (choice.below(8) == 0) fibrio::yield();
                if (choice.below(8) == 0) {
                  auto item = std::make_unique<Item>(Item{p, i});
                  while (!queue.try_put(std::move(item))) fibrio::yield();  // barges in
                } else {
                  queue.put(std::make_unique<Item>(Item{p, i}));
                }
                ++put[p];
              }
            }));
          }
          for (int c = 0; c < kConsumers; ++c) {
            consumers.push_back(fibrio::create_task([&, c, round] {
              Random choice(static_cast<std::uint64_t>(400'000 + round * kConsumers + c));
              auto& mine = got[static_cast<std::size_t>(c)];
              try {
                for (;;) {
                  std::unique_ptr<Item> item;
                  if (choice.below(8) == 0) {
                    if (auto taken = queue.try_get()) item = std::move(*taken);
                    if (item == nullptr) fibrio::yield();
                  } else {
                    item = queue.get();
                  }
                  if (item == nullptr) continue;
                  mine.push_back(*item);
                  queue.task_done();
                }
              } catch (const fibrio::QueueShutDown&) {
              }
            }));
          }
          // Half of each may be cancelled, at any moment.
          std::thread killer([&] {
            Random choice(static_cast<std::uint64_t>(500'000 + round));
            for (int i = 0; i < 4; ++i)
              producers[static_cast<std::size_t>(choice.below(kProducers / 2))].cancel();
          });
          for (int i = 0; i < 4; ++i) {
            fibrio::yield();
            consumers[static_cast<std::size_t>(random.below(kConsumers / 2))].cancel();
          }
          for (const auto& producer : producers) wait_until_done(producer);
          killer.join();
          queue.join();  // the consumers that are left take everything
          queue.shutdown();
          for (const auto& consumer : consumers) wait_until_done(consumer);
          expect(queue.empty(), "an item is left after join");

          int taken = 0;
          int were_put = 0;
          std::vector<std::vector<int>> times(kProducers, std::vector<int>(kItems));
          for (const auto& mine : got) {
            int last[kProducers];
            for (int& number : last) number = -1;
            for (const Item& item : mine) {
              ++taken;
              ++times[static_cast<std::size_t>(item.producer)][static_cast<std::size_t>(item.number)];
              expect(item.number > last[item.producer], "a producer's items came out of order");
              last[item.producer] = item.number;
            }
          }
          for (int p = 0; p < kProducers; ++p) {
            were_put += put[p];
            const bool was_cancelled = producers[static_cast<std::size_t>(p)].cancelled();
            expect(was_cancelled || put[p] == kItems, "a producer ended early");
            for (int i = 0; i < kItems; ++i) {
              const int expected = i < put[p] ? 1 : 0;
              expect(times[static_cast<std::size_t>(p)][static_cast<std::size_t>(i)] == expected,
                     "an item came out twice, or never");
            }
          }
          expect(taken == were_put, "as many items came out as went in");
          watchdog.progress();
        }
        REQUIRE(expect.failures() == "");
      },
      several_workers());
}

TEST_CASE("Condition and Event under random cancels: nobody sleeps over a change", "[stress][sync]") {
  const int rounds = scaled(60);
  stress(
      "condition",
      [&](Watchdog& watchdog) {
        Expect expect;
        for (int round = 0; round < rounds; ++round) {
          Random random(static_cast<std::uint64_t>(2000 + round));
          fibrio::Condition condition;
          fibrio::Event start;
          int tokens = 0;  // the condition's lock guards these
          int used = 0;
          constexpr int kTasks = 20;
          constexpr int kTokens = 100;
          std::vector<fibrio::Task<>> tasks;
          for (int t = 0; t < kTasks; ++t) {
            tasks.push_back(fibrio::create_task([&] {
              start.wait();
              for (;;) {
                const std::lock_guard guard(condition);
                condition.wait_for([&] { return tokens != 0; });
                if (tokens < 0) return;
                --tokens;
                ++used;
              }
            }));
          }
          std::thread killer([&] {
            Random choice(static_cast<std::uint64_t>(600'000 + round));
            for (int i = 0; i < 10; ++i) tasks[static_cast<std::size_t>(choice.below(kTasks / 2))].cancel();
          });
          start.set();
          // One notification per token: one that is lost leaves a token unused for ever.
          for (int i = 0; i < kTokens; ++i) {
            {
              const std::lock_guard guard(condition);
              ++tokens;
              condition.notify();
            }
            if (random.below(4) == 0) fibrio::yield();
            if (random.below(8) == 0) tasks[static_cast<std::size_t>(random.below(kTasks / 2))].cancel();
          }
          killer.join();
          for (;;) {
            {
              const std::lock_guard guard(condition);
              if (tokens == 0) break;
            }
            fibrio::yield();
          }
          {
            const std::lock_guard guard(condition);
            expect(used == kTokens, "as many tokens were used as were given");
            tokens = -1;
            condition.notify_all();
          }
          for (const auto& task : tasks) wait_until_done(task);
          expect(!condition.locked(), "somebody still holds the lock");
          watchdog.progress();
        }
        REQUIRE(expect.failures() == "");
      },
      several_workers());
}
