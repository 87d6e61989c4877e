// Queue, LifoQueue, PriorityQueue: asyncio's cases, pass by pass with one worker; and what must hold with any
// number of them.
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/passes.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;

// asyncio: test_queues QueueBasicTests.test_empty
// asyncio: test_queues QueueBasicTests.test_full
// asyncio: test_queues QueueBasicTests.test_order
// asyncio: test_queues QueueBasicTests.test_maxsize
TEST_CASE("Queue knows how much is in it", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<int> unbounded;
    TASK_CHECK(unbounded.maxsize() == 0 && unbounded.empty() && !unbounded.full());
    for (int i = 0; i < 100; ++i) unbounded.put(i);
    TASK_CHECK(unbounded.qsize() == 100 && !unbounded.full() && !unbounded.empty());
    for (int i = 0; i < 100; ++i) TASK_CHECK(unbounded.get() == i);  // first in, first out
    TASK_CHECK(unbounded.empty());

    Queue<int> two(2);
    two.put_nowait(1);
    TASK_CHECK(!two.full());
    two.put_nowait(2);
    TASK_CHECK(two.full() && two.maxsize() == 2);
  });
}

// asyncio: test_queues QueueBasicTests.test_maxsize
TEST_CASE("Queue: put waits while it is full, and goes on after a get", "[queues]") {
  in_tasks([](EventLoop& loop) {
    Queue<int> queue(2);
    std::atomic<bool> have_been_put{false};
    Task<> putter = create_task([&] {
      for (int i = 0; i < 3; ++i) queue.put(i);
      have_been_put = true;
    });
    TASK_CHECK(settles(loop, [&] { return queue.full(); }));
    yield();
    TASK_CHECK(!have_been_put);
    TASK_CHECK(queue.get() == 0);
    TASK_CHECK(settles(loop, [&] { return have_been_put.load(); }));
    TASK_CHECK(queue.get() == 1);
    TASK_CHECK(queue.get() == 2);
    await(putter);
  });
}

// asyncio: test_queues QueueGetTests.test_blocking_get
// asyncio: test_queues QueuePutTests.test_blocking_put
TEST_CASE("Queue: a put with room and a get with items do not wait", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<int> queue;
    current_task().cancel();  // would be delivered by a wait
    queue.put(1);
    TASK_CHECK(queue.get() == 1);
    TASK_CHECK(current_task().uncancel() == 0);
  });
}

// asyncio: test_queues QueueGetTests.test_nonblocking_get
// asyncio: test_queues QueueGetTests.test_nonblocking_get_exception
// asyncio: test_queues QueuePutTests.test_nonblocking_put
// asyncio: test_queues QueuePutTests.test_nonblocking_put_exception
TEST_CASE("Queue: what does not wait says no", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<std::string> queue(1);
    TASK_CHECK(throws<QueueEmpty>([&] { return queue.get_nowait(); }));
    TASK_CHECK(!queue.try_get().has_value());
    queue.put_nowait("a");
    TASK_CHECK(throws<QueueFull>([&] { queue.put_nowait("b"); }));
    std::string kept = "a text that is too long to be kept in place";
    TASK_CHECK(!queue.try_put(std::move(kept)));
    TASK_CHECK(kept.size() > 30);  // NOLINT: left alone
    TASK_CHECK(queue.get_nowait() == "a");
    TASK_CHECK(queue.try_put(kept));
    TASK_CHECK(queue.try_get() == kept);
  });
}

// asyncio: test_queues QueueGetTests.test_blocking_get_wait
// asyncio: test_queues QueuePutTests.test_put_with_waiting_getters
TEST_CASE("Queue: get waits until an item comes", "[queues]") {
  in_tasks([](EventLoop& loop) {
    Queue<int> queue;
    std::atomic<int> got{0};
    Task<> getter = create_task([&] { got = queue.get(); });
    let_all_wait(loop);
    queue.put(7);
    TASK_CHECK(settles(loop, [&] { return got == 7; }));
    await(getter);
    TASK_CHECK(queue.empty());
  });
}

// asyncio: test_queues QueueGetTests.test_get_with_putters
// asyncio: test_queues QueueGetTests.test_get_with_waiting_putters
// asyncio: test_queues QueuePutTests.test_blocking_put_wait
TEST_CASE("Queue: a get makes room for who waits, in order", "[queues]") {
  in_tasks([](EventLoop& loop) {
    Queue<int> queue(1);
    queue.put(0);
    std::vector<Task<>> putters;
    for (int i = 1; i <= 2; ++i) {
      putters.push_back(create_task([&, i] { queue.put(i); }));
      if (loop.workers() > 1) sleep(1ms);  // virtual: this one waits now
    }
    yield();
    for (int i = 0; i <= 2; ++i) TASK_CHECK(queue.get() == i);
    for (const auto& putter : putters) await(putter);
  });
}

// asyncio: test_queues QueueGetTests.test_get_cancelled_race
TEST_CASE("Queue: a cancelled getter is skipped, the item goes to the next", "[queues]") {
  in_tasks([](EventLoop& loop) {
    Queue<int> queue;
    Task<int> first = create_task([&] { return queue.get(); });
    if (loop.workers() > 1) sleep(1ms);
    Task<int> second = create_task([&] { return queue.get(); });
    let_all_wait(loop);
    first.cancel();
    yield();
    queue.put_nowait(1);
    TASK_CHECK(await(second) == 1);
    first.wait();
    TASK_CHECK(first.cancelled());
  });
}

// C48.
// asyncio: test_queues QueuePutTests.test_get_cancel_drop_one_pending_reader
TEST_CASE("Queue: a getter cancelled after an item came leaves it in", "[queues]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Queue<int> queue;
      Task<int> reader = create_task([&] { return queue.get(); });
      yield();
      queue.put_nowait(1);
      queue.put_nowait(2);
      reader.cancel();
      reader.wait();
      TASK_CHECK(reader.cancelled());
      TASK_CHECK(queue.get() == 1);
      TASK_CHECK(queue.get() == 2);
    });
  });
}

// asyncio: test_queues QueuePutTests.test_get_cancel_drop_many_pending_readers
TEST_CASE("Queue: a woken getter that is cancelled wakes the next", "[queues]") {
  in_tasks([](EventLoop& loop) {
    Queue<int> queue;
    std::atomic<int> sum{0};
    std::vector<Task<>> readers;
    for (int i = 0; i < 3; ++i) readers.push_back(create_task([&] { sum += queue.get(); }));
    let_all_wait(loop);
    queue.put_nowait(1);
    queue.put_nowait(2);
    if (loop.workers() == 1) {
      readers[0].cancel();
      await(readers[1]);
      await(readers[2]);
      readers[0].wait();
      TASK_CHECK(readers[0].cancelled());
    } else {  // who was first is not known; two get an item, or the cancelled one did and then two have
      readers[0].cancel();
      TASK_CHECK(eventually_in_task([&] { return sum == 3; }));
      for (const auto& reader : readers) reader.cancel();
      for (const auto& reader : readers) reader.wait();
    }
    TASK_CHECK(sum == 3);
    TASK_CHECK(queue.empty());
  });
}

// asyncio: test_queues QueuePutTests.test_put_cancel_drop
// asyncio: test_queues QueuePutTests.test_cancelled_put_silence_value_error_exception
TEST_CASE("Queue: a putter cancelled after room came puts nothing in", "[queues]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Queue<int> queue(1);
      queue.put_nowait(1);
      Task<> writer = create_task([&] { queue.put(2); });
      yield();
      TASK_CHECK(queue.get_nowait() == 1);
      writer.cancel();
      writer.wait();
      TASK_CHECK(writer.cancelled());
      TASK_CHECK(queue.empty());
      queue.put_nowait(3);  // the room is there
      TASK_CHECK(queue.get() == 3);
    });
  });
}

// asyncio: test_queues QueuePutTests.test_put_cancelled_race
TEST_CASE("Queue: a putter cancelled in the middle of the line: the others come in order, its item never",
          "[queues]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Queue<std::string> queue(1);
      queue.put_nowait("a");
      const auto put = [&](const char* item) { queue.put(item); };
      Task<> x = create_task(put, "X");
      Task<> b = create_task(put, "b");
      Task<> c = create_task(put, "c");
      yield();
      x.cancel();
      yield();
      TASK_CHECK(x.done());
      TASK_CHECK(queue.get_nowait() == "a");
      TASK_CHECK(queue.get() == "b");
      TASK_CHECK(queue.get() == "c");
      await(b);
      await(c);
    });
  });
}

// asyncio: test_queues QueuePutTests.test_put_cancelled
TEST_CASE("Queue: a put and a get in one pass", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<int> queue;
    Task<bool> putter = create_task([&] {
      queue.put(1);
      return true;
    });
    TASK_CHECK(queue.get() == 1);
    TASK_CHECK(await(putter));
  });
}

// asyncio: test_queues QueueGetTests.test_why_are_getters_waiting
TEST_CASE("Queue of one: producers and consumers never all wait", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<int> queue(1);
    std::atomic<int> got{0};
    std::vector<Task<>> tasks;
    for (int i = 0; i < 4; ++i) {
      tasks.push_back(create_task([&] {
        for (int k = 0; k < rounds(200); ++k) queue.put(k);
      }));
      tasks.push_back(create_task([&] {
        for (int k = 0; k < rounds(200); ++k) {
          static_cast<void>(queue.get());
          ++got;
        }
      }));
    }
    for (const auto& task : tasks) await(task);
    TASK_CHECK(got == 4 * rounds(200));
    TASK_CHECK(queue.empty());
  });
}

// asyncio: test_queues QueuePutTests.test_why_are_putters_waiting
TEST_CASE("Queue: who takes several at once wakes as many putters", "[queues]") {
  in_tasks([](EventLoop& loop) {
    Queue<int> queue(2);
    std::vector<Task<>> putters;
    for (int i = 0; i < 4; ++i) putters.push_back(create_task([&, i] { queue.put(i); }));
    let_all_wait(loop);
    TASK_CHECK(queue.qsize() == 2);
    static_cast<void>(queue.get_nowait());
    static_cast<void>(queue.get_nowait());
    for (const auto& putter : putters) await(putter);
    TASK_CHECK(queue.qsize() == 2);
  });
}

// asyncio: test_queues QueueGetTests.test_cancelled_getters_not_being_held_in_self_getters
// asyncio: test_queues QueuePutTests.test_cancelled_puts_not_being_held_in_self_putters
TEST_CASE("Queue: cancelled waits leave nothing behind", "[queues]") {
  in_tasks([](EventLoop&) {
    auto queue = std::make_unique<Queue<int>>(1);
    Task<int> getter = create_task([&] { return queue->get(); });
    sleep(1ms);
    getter.cancel();
    getter.wait();
    queue->put_nowait(1);
    Task<> putter = create_task([&] { queue->put(2); });
    Task<> joiner = create_task([&] { queue->join(); });
    sleep(1ms);
    putter.cancel();
    joiner.cancel();
    putter.wait();
    joiner.wait();
    TASK_CHECK(putter.cancelled() && joiner.cancelled());
    TASK_CHECK(queue->qsize() == 1);
    queue.reset();  // refuses to go while somebody is listed
  });
}

// C48: who did not wait may be faster; who was woken in vain waits again, at the end.
TEST_CASE("Queue: a woken getter that finds nothing waits again at the end of the line", "[queues]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Queue<int> queue;
      Log log;
      const auto get = [&](const std::string& name) { log.add(name + std::to_string(queue.get())); };
      Task<> a = create_task(get, "a");
      Task<> b = create_task(get, "b");
      yield();
      queue.put_nowait(1);
      TASK_CHECK(queue.get_nowait() == 1);  // before a runs
      yield();
      queue.put_nowait(2);
      queue.put_nowait(3);
      yield();
      TASK_CHECK(log.text() == "b2 a3");
      await(a);
      await(b);
    });
  });
}

TEST_CASE("Queue: a woken putter that finds no room waits again at the end of the line", "[queues]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Queue<std::string> queue(1);
      queue.put_nowait("0");
      const auto put = [&](const char* item) { queue.put(item); };
      Task<> a = create_task(put, "a");
      Task<> b = create_task(put, "b");
      yield();
      TASK_CHECK(queue.get_nowait() == "0");
      queue.put_nowait("barge");
      yield();
      TASK_CHECK(queue.get() == "barge");
      TASK_CHECK(queue.get() == "b");
      TASK_CHECK(queue.get() == "a");
      await(a);
      await(b);
    });
  });
}

// asyncio: test_queues LifoQueueTests.test_order
// asyncio: test_queues PriorityQueueTests.test_order
TEST_CASE("LifoQueue gives the last first, PriorityQueue the smallest", "[queues]") {
  in_tasks([](EventLoop&) {
    LifoQueue<int> stack;
    PriorityQueue<int> smallest(4);
    PriorityQueue<int, std::greater<>> largest;
    for (const int i : {1, 3, 2}) {
      stack.put(i);
      smallest.put(i);
      largest.put(i);
    }
    for (const int i : {2, 3, 1}) TASK_CHECK(stack.get() == i);
    for (const int i : {1, 2, 3}) TASK_CHECK(smallest.get() == i);
    for (const int i : {3, 2, 1}) TASK_CHECK(largest.get_nowait() == i);
    TASK_CHECK(smallest.maxsize() == 4);
  });
}

TEST_CASE("Queues hold what can only be moved", "[queues]") {
  struct Later {
    bool operator()(const std::unique_ptr<int>& a, const std::unique_ptr<int>& b) const { return *a < *b; }
  };
  in_tasks([](EventLoop&) {
    Queue<std::unique_ptr<int>> queue;
    LifoQueue<std::unique_ptr<int>> stack;
    PriorityQueue<std::unique_ptr<int>, Later> heap;
    for (int i = 0; i < 100; ++i) {  // the ring grows, also when its beginning is not its first slot
      queue.put(std::make_unique<int>(i));
      queue.put(std::make_unique<int>(i));
      TASK_CHECK(*queue.get() == i / 2);
      stack.put(std::make_unique<int>(i));
      heap.put(std::make_unique<int>(99 - i));
    }
    for (int i = 0; i < 100; ++i) {
      TASK_CHECK(**queue.try_get() == 50 + i / 2);
      TASK_CHECK(*stack.get_nowait() == 99 - i);
      TASK_CHECK(*heap.get() == i);
    }
    queue.put(std::make_unique<int>(1));  // left in when it goes
  });
}

namespace {
// Throws when it is moved, if told so.
struct Fragile {
  explicit Fragile(int its_value) : value(its_value) {}
  Fragile(Fragile&& other) : value(other.value) {
    if (throws_now) throw std::runtime_error("moved");
  }
  int value;
  static inline bool throws_now = false;
};
}  // namespace

TEST_CASE("Queue: an item whose move throws is not in, or stays in, and the queue goes on", "[queues]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Queue<Fragile> queue(1);
      Fragile item(1);
      Fragile::throws_now = true;
      TASK_CHECK(throws<std::runtime_error>([&] { static_cast<void>(queue.try_put(std::move(item))); }));
      Fragile::throws_now = false;
      TASK_CHECK(queue.empty());
      queue.put(Fragile(2));
      Fragile::throws_now = true;
      TASK_CHECK(throws<std::runtime_error>([&] { return queue.get().value; }));
      Fragile::throws_now = false;
      TASK_CHECK(queue.get().value == 2);
      queue.task_done();
      queue.join();
    });
  });
}

// asyncio: test_queues _QueueJoinTestMixin.test_task_done_underflow
// asyncio: test_queues _QueueJoinTestMixin.test_task_done
// asyncio: test_queues _QueueJoinTestMixin.test_join_empty_queue
TEST_CASE("Queue: join returns when task_done was called for every item", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<int> queue;
    TASK_CHECK(throws<std::invalid_argument>([&] { queue.task_done(); }));
    queue.join();
    queue.join();
    for (int i = 0; i < 100; ++i) queue.put_nowait(i);
    std::atomic<int> sum{0};
    std::vector<Task<>> workers;
    for (int i = 0; i < 2; ++i) {
      workers.push_back(create_task([&] {
        try {
          for (;;) {
            sum += queue.get();
            yield();
            queue.task_done();
          }
        } catch (const QueueShutDown&) {
        }
      }));
    }
    queue.join();
    TASK_CHECK(sum == 4950);
    queue.shutdown();
    for (const auto& worker : workers) await(worker);
    queue.join();
    TASK_CHECK(throws<std::invalid_argument>([&] { queue.task_done(); }));
  });
}

// asyncio: test_queues _QueueShutdownTestMixin.test_shutdown_empty
TEST_CASE("Queue: shutdown of an empty queue throws out who waits", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<int> queue;
    std::atomic<bool> threw{false};
    Task<> getter = create_task([&] { threw = throws<QueueShutDown>([&] { return queue.get(); }); });
    sleep(1ms);
    queue.shutdown();
    await(getter);
    TASK_CHECK(threw);
    TASK_CHECK(throws<QueueShutDown>([&] { queue.put(1); }));
    TASK_CHECK(throws<QueueShutDown>([&] { queue.put_nowait(1); }));
    TASK_CHECK(!queue.try_put(1));
    TASK_CHECK(throws<QueueShutDown>([&] { return queue.get(); }));
    TASK_CHECK(throws<QueueShutDown>([&] { return queue.get_nowait(); }));
    TASK_CHECK(!queue.try_get().has_value());
    queue.join();
  });
}

// asyncio: test_queues _QueueShutdownTestMixin.test_shutdown_nonempty
TEST_CASE("Queue: after shutdown what is in can be got, and nothing put", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<int> queue(1);
    queue.put_nowait(1);
    std::atomic<bool> threw{false};
    std::atomic<bool> joined{false};
    Task<> putter = create_task([&] { threw = throws<QueueShutDown>([&] { queue.put(2); }); });
    Task<> joiner = create_task([&] {
      queue.join();
      joined = true;
    });
    sleep(1ms);
    queue.shutdown();
    await(putter);
    TASK_CHECK(threw);
    TASK_CHECK(throws<QueueShutDown>([&] { queue.put(3); }));
    TASK_CHECK(queue.get() == 1);
    TASK_CHECK(throws<QueueShutDown>([&] { return queue.get(); }));
    sleep(1ms);
    TASK_CHECK(!joined);
    queue.task_done();
    await(joiner);
    TASK_CHECK(joined);
  });
}

// asyncio: test_queues _QueueShutdownTestMixin.test_shutdown_immediate
// asyncio: test_queues _QueueShutdownTestMixin.test_shutdown_immediate_with_unfinished
TEST_CASE("Queue: immediate shutdown drops what is in, as if it were done", "[queues]") {
  in_tasks([](EventLoop&) {
    Queue<std::shared_ptr<int>> queue;
    auto item = std::make_shared<int>(1);
    queue.put_nowait(item);
    queue.put_nowait(item);
    const auto in_work = queue.get();
    Task<> joiner = create_task([&] { queue.join(); });
    sleep(1ms);
    queue.shutdown(true);
    TASK_CHECK(item.use_count() == 2);  // this one, and the one in work
    TASK_CHECK(queue.empty());
    TASK_CHECK(throws<QueueShutDown>([&] { return queue.get(); }));
    sleep(1ms);
    TASK_CHECK(!joiner.done());
    queue.task_done();
    await(joiner);
    TASK_CHECK(throws<std::invalid_argument>([&] { queue.task_done(); }));
    queue.shutdown(true);  // again
    queue.join();

    LifoQueue<int> stack;
    PriorityQueue<int> heap;
    stack.put(1);
    heap.put(1);
    stack.shutdown(true);
    heap.shutdown(true);
    stack.join();
    heap.join();
  });
}

// Found by the differential tests: the count of unfinished items went below zero.
TEST_CASE("Queue: immediate shutdown with items that were called done before they were got", "[queues]") {
  Queue<int> queue;
  queue.put_nowait(1);
  queue.put_nowait(2);
  queue.task_done();
  queue.shutdown(true);
  CHECK_THROWS_AS(queue.task_done(), std::invalid_argument);
  queue.join();
}

TEST_CASE("Queue: the order in which shutdown wakes is asyncio's: joiners, getters, putters", "[queues]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Queue<int> queue(1);
      Log log;
      queue.put_nowait(1);
      std::vector<Task<>> tasks;
      tasks.push_back(
          create_task([&] { log.add(throws<QueueShutDown>([&] { queue.put(2); }) ? "putter" : "no"); }));
      tasks.push_back(create_task([&] {
        queue.join();
        log.add("joiner");
      }));
      yield();
      queue.shutdown(true);
      yield();
      TASK_CHECK(log.text() == "joiner putter");
      for (const auto& task : tasks) await(task);
    });
  });
}

TEST_CASE("Queue: items between tasks and plain threads, in each producer's order", "[queues]") {
  on_loops(
      [](EventLoop& loop) {
        Queue<int> there(4);
        Queue<int> back;
        const int count = rounds(1000);
        std::thread echo([&] {
          try {
            for (;;) back.put(there.get());
          } catch (const QueueShutDown&) {
            back.shutdown();
          }
        });
        loop.run_until_complete([&] {
          Task<> producer = create_task([&] {
            for (int i = 0; i < count; ++i) there.put(i);
            there.shutdown();
          });
          int next = 0;
          try {
            for (;; ++next) TASK_CHECK(back.get() == next);
          } catch (const QueueShutDown&) {
          }
          TASK_CHECK(next == count);
          await(producer);
        });
        echo.join();
      },
      false);
}

TEST_CASE("Queue: callbacks put and get what needs no wait", "[queues]") {
  in_tasks([](EventLoop& loop) {
    Queue<int> queue;
    Task<int> getter = create_task([&] { return queue.get(); });
    loop.call_soon([&] {
      queue.put_nowait(5);
      queue.put(6);
    });
    TASK_CHECK(await(getter) == 5);
    TASK_CHECK(queue.get() == 6);
  });
}

TEST_CASE("Queue: several workers: who never has to wait lets others run", "[queues]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      // Each of them would keep its worker for ever; main is stolen, or gets its turn.
      std::atomic<bool> stop{false};
      std::vector<Task<>> hogs;
      for (std::size_t i = 0; i < loop.workers(); ++i) {
        hogs.push_back(create_task([&] {
          Queue<int> queue;
          while (!stop) {
            queue.put(1);
            static_cast<void>(queue.get());
          }
        }));
      }
      for (int i = 0; i < 10; ++i) yield();
      stop = true;
      for (const auto& hog : hogs) await(hog);
    });
  });
}

namespace {
// What the program says that destroys a T while a task waits at it.
template <class T>
std::string last_words(
    void (*wait)(T&), void (*before)(T&) = [](T&) {}) {
  const ChildResult child = run_in_child([=] {
    EventLoop loop(test_config(1));
    loop.run_until_complete([&] {
      auto shared = std::make_unique<T>();
      Task<> waiter = create_task([&] { wait(*shared); });
      yield();
      before(*shared);
      shared.reset();
    });
  });
  return child.signal == 0 ? "none: it survived" : child.errors;
}
}  // namespace

TEST_CASE("What is destroyed while a task waits at it ends the program, and says so", "[queues]") {
  const auto says = [](const std::string& words, const char* expected) {
    CAPTURE(words);
    CHECK(words.find(expected) != std::string::npos);
  };
  says(last_words<Queue<int>>([](Queue<int>& queue) { static_cast<void>(queue.get()); }),
       "a queue is destroyed while a task waits");
  // Also if it was woken, but has not run yet.
  says(last_words<Queue<int>>([](Queue<int>& queue) { static_cast<void>(queue.get()); },
                              [](Queue<int>& queue) { queue.put(1); }),
       "a queue is destroyed while a task waits");
  says(last_words<Event>([](Event& event) { event.wait(); }), "an Event is destroyed while a task waits");
  says(last_words<Lock>([](Lock& lock) {
         lock.lock();
         lock.lock();
       }),
       "a Lock is destroyed while a task waits");
}
