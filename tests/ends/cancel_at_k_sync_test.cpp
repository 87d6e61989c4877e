// cancel-at-k over what tasks use between themselves.
#include <stdexcept>
#include <vector>

#include "ends/cancel_at_k.hpp"

namespace {

using namespace fibrio;
using namespace fibrio::test;

// Others hold what the task needs for a millisecond each, so that it has to wait for it twice.
void use_lock(Attempt& attempt) {
  Lock lock;
  int inside = 0;
  const auto enter = [&] {
    const std::lock_guard guard(lock);
    struct Inside {
      explicit Inside(int& number) : number_(number) { TASK_CHECK(++number_ == 1); }
      ~Inside() { --number_; }
      int& number_;
    } const here(inside);
    sleep(1ms);
  };
  Task<> first = create_task(enter);
  attempt.run([&] { enter(), yield(), enter(); });
  await(first);
  TASK_CHECK(!lock.locked() && inside == 0);
  TASK_CHECK(lock.try_lock());
  lock.unlock();
}

void use_semaphore(Attempt& attempt) {
  BoundedSemaphore semaphore(1);
  const auto enter = [&] {
    semaphore.acquire();
    struct Leave {
      ~Leave() { semaphore.release(); }
      BoundedSemaphore& semaphore;
    } const leave{semaphore};
    sleep(1ms);
  };
  Task<> first = create_task(enter);
  Task<> second = create_task([&] { sleep(Duration(1)), enter(); });
  attempt.run([&] { enter(), enter(); });
  await(first), await(second);
  TASK_CHECK(semaphore.try_acquire() && !semaphore.try_acquire());
}

void use_event(Attempt& attempt) {
  Event event;
  Task<> setter = create_task([&] { sleep(2ms), event.set(); });
  const Ended ended = attempt.run([&] { event.wait(); });
  TASK_CHECK(ended != Ended::kWell || event.is_set());
  await(setter);
  event.wait();
}

void use_condition(Attempt& attempt) {
  Condition condition;
  int items = 0;
  int taken = 0;
  const auto take = [&] {
    const std::lock_guard guard(condition);
    condition.wait_for([&] { return items > 0; });
    --items, ++taken;
  };
  Task<> other = create_task(take);
  Task<> maker = create_task([&] {
    for (int i = 0; i < 2; ++i) {
      sleep(1ms);
      const std::lock_guard guard(condition);
      ++items;
      condition.notify();
      sleep(1ms);  // who was notified has to wait for the lock
    }
  });
  const Ended ended = attempt.run(take);
  await(maker);
  await(other);  // the notification of who was cancelled is not lost
  TASK_CHECK(!condition.locked() && items + taken == 2);
  TASK_CHECK((ended == Ended::kWell) == (taken == 2));
}

void use_barrier(Attempt& attempt) {
  Barrier barrier(2);
  bool other_broken = false;
  Task<> other = create_task([&] {
    sleep(1ms);
    try {
      timeout(1s, [&] { barrier.wait(); });
    } catch (const BrokenBarrierError&) {
      other_broken = true;
    } catch (const TimeoutError&) {
      other_broken = true;  // the one that was cancelled had left before it
    }
  });
  const Ended ended = attempt.run([&] { barrier.wait(); }, true);
  await(other);
  TASK_CHECK(ended == Ended::kWell || other_broken || !barrier.broken());
}

void use_queue(Attempt& attempt) {
  Queue<int> queue(1);
  std::vector<int> got;
  Task<> producer = create_task([&] {
    for (int i = 0; i < 4; ++i) queue.put(i), sleep(1ms);
  });
  attempt.run([&] {
    for (int i = 0; i < 4; ++i) got.push_back(queue.get()), queue.task_done();
  });
  while (got.size() < 4) got.push_back(queue.get()), queue.task_done();
  await(producer);
  queue.join();
  TASK_CHECK(got == std::vector<int>({0, 1, 2, 3}));
  TASK_CHECK(queue.empty());
}

void use_queue_put(Attempt& attempt) {
  Queue<int> queue(1);
  int put = 0;
  std::vector<int> got;
  Task<> consumer = create_task([&] {
    for (;;) {
      sleep(1ms);
      const int item = queue.get();
      queue.task_done();
      if (item < 0) return;
      got.push_back(item);
    }
  });
  attempt.run([&] {
    for (int i = 0; i < 3; ++i) queue.put(i), ++put;
    queue.join();
  });
  queue.put(-1);
  await(consumer);
  TASK_CHECK(static_cast<int>(got.size()) == put);
}

void use_future(Attempt& attempt) {
  Future<int> future = get_running_loop().create_future<int>();
  get_running_loop().call_later(1ms, [future]() mutable { future.try_set_result(7); });
  int value = 0;
  const Ended ended = attempt.run([&] {
    sleep(Duration(1));
    value = await(future);
  });
  TASK_CHECK((ended == Ended::kWell) == (value == 7));
  sleep(2ms);
  TASK_CHECK(future.done());
}

void use_task_chain(Attempt& attempt) {
  int ended_inner = 0;
  const Ended ended = attempt.run([&] {
    Task<> outer = create_task([&] {
      Task<> inner = create_task([&] {
        struct Count {
          ~Count() { ++ended_inner; }
          int& ended_inner;
        } const count{ended_inner};
        sleep(1ms);
      });
      await(inner);
    });
    await(outer);
  });
  sleep(5ms);
  TASK_CHECK(ended_inner <= 1 && (ended != Ended::kWell || ended_inner == 1));
}

void use_gather(Attempt& attempt) {
  int ended_children = 0;
  attempt.run([&] {
    const auto child = [&ended_children](int i) {
      struct Count {
        ~Count() { ++ended_children; }
        int& ended_children;
      } const count{ended_children};
      sleep(i * 1ms);
      return i;
    };
    Strand strand;  // ended_children is not atomic
    strand.run([&] { gather(create_task(child, 1), create_task(child, 2), create_task(child, 3)); });
  });
  sleep(10ms);
  TASK_CHECK(ended_children <= 3);
}

void use_shield(Attempt& attempt) {
  bool done = false;
  Task<> work = create_task([&] { sleep(3ms), done = true; });
  attempt.run([&] { shield(work); });
  await(work);
  TASK_CHECK(done);
}

void use_group(Attempt& attempt) {
  std::atomic<int> alive{0};
  attempt.run([&] {
    task_group([&](TaskGroup& group) {
      for (int i = 1; i <= 3; ++i) {
        group.create_task([&alive, i] {
          struct Alive {
            explicit Alive(std::atomic<int>& count) : count_(count) { ++count_; }
            ~Alive() { --count_; }
            std::atomic<int>& count_;
          } const here(alive);
          try {
            sleep(i * 1ms);
          } catch (const CancelledError&) {
            const CancelMask mask;
            sleep(1ms);  // a cleanup that waits
            throw;
          }
        });
      }
      sleep(1ms);
    });
  });
  TASK_CHECK(alive == 0);
}

void use_timeouts(Attempt& attempt) {
  const Ended ended = attempt.run(
      [&] {
        try {
          timeout(1ms, [] { sleep(1h); });
        } catch (const TimeoutError&) {
        }
        timeout(1h, [] { sleep(1ms); });
        TASK_CHECK(current_task().cancelling() == 0);
      },
      true);
  static_cast<void>(ended);
}

void use_wait(Attempt& attempt) {
  Task<> one = create_task([] { sleep(1ms); });
  Task<> two = create_task([] { sleep(3ms); });
  attempt.run([&] {
    (void)wait(std::vector<Task<>>{one, two}, {.return_when = FIRST_COMPLETED});
    (void)wait(std::vector<Task<>>{one, two});
  });
  await(one), await(two);  // wait cancels nothing
}

void use_thread(Attempt& attempt) {
  std::atomic<int> ran{0};
  attempt.run([&] {
    for (int i = 0; i < 2; ++i) to_thread([&ran] { ++ran; });
  });
  // A call that has begun goes on without its task.
  get_running_loop().shutdown_default_executor(10s);
  TASK_CHECK(ran <= 2);
}

}  // namespace

TEST_CASE("cancel-at-k: locks, queues and tasks keep their order at every wait", "[ends]") {
  static constexpr CancelScript kScripts[] = {
      {"Lock", use_lock},           {"BoundedSemaphore", use_semaphore},
      {"Event", use_event},         {"Condition", use_condition},
      {"Barrier", use_barrier},     {"Queue.get", use_queue},
      {"Queue.put", use_queue_put}, {"Future", use_future},
      {"await", use_task_chain},    {"gather", use_gather},
      {"shield", use_shield},       {"task_group", use_group},
      {"timeout", use_timeouts},    {"wait", use_wait},
      {"to_thread", use_thread},
  };
  sweep("cancel_at_k_sync", kScripts);
}
