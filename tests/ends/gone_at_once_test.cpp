// What: gone-at-once: primitives destroyed, handles dropped, scopes left right after the last wait on them returned, while
// whoever ended that wait is made to linger at a named point of the library (base/delay.hpp). What is gone is filled with
// a pattern, and looked at later: somebody who still wrote there has left a mark.
//
// Threads: as each script says.
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/delay.hpp"
#include "ends/tally.hpp"
#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

#ifdef FIBRIO_DELAY_POINTS

using fibrio::detail::DelayPoint;
using fibrio::detail::delays_at;
using fibrio::detail::set_delay;

namespace {

constexpr std::array kPoints = {
    std::pair{DelayPoint::kTimerClaimed, "TimerClaimed"},
    std::pair{DelayPoint::kTimerActed, "TimerActed"},
    std::pair{DelayPoint::kTimerDisarm, "TimerDisarm"},
    std::pair{DelayPoint::kGroupMarked, "GroupMarked"},
    std::pair{DelayPoint::kGroupChildrenTold, "GroupChildrenTold"},
    std::pair{DelayPoint::kGroupChildDone, "GroupChildDone"},
    std::pair{DelayPoint::kEventSet, "EventSet"},
    std::pair{DelayPoint::kWaking, "Waking"},
    std::pair{DelayPoint::kWoken, "Woken"},
    std::pair{DelayPoint::kFutureDone, "FutureDone"},
    std::pair{DelayPoint::kFutureClaimed, "FutureClaimed"},
    std::pair{DelayPoint::kTaskResolved, "TaskResolved"},
    std::pair{DelayPoint::kThreadTold, "ThreadTold"},
};
static_assert(kPoints.size() == static_cast<std::size_t>(DelayPoint::kCount) - 1, "each point is swept");

// --- what was there ----------------------------------------------------------------------------------------

constexpr unsigned char kGone = 0xdb;

// Memory of things that are gone. It is kept until the script is over.
class Graves {
 public:
  ~Graves() {
    for (const auto& grave : graves_) {
      for (const unsigned char byte : grave) CHECK(byte == kGone);
    }
  }
  unsigned char* dig(std::size_t bytes) {
    const std::lock_guard guard(lock_);
    graves_.emplace_back(bytes, kGone);
    return graves_.back().data();
  }

 private:
  std::mutex lock_;
  std::vector<std::vector<unsigned char>> graves_;  // moved, never copied: what `dig` gave stays
};

// Has it in memory of its own, and fills that when it goes.
template <class T>
class Mortal {
 public:
  template <class... A>
  explicit Mortal(Graves& graves, A&&... arguments) : memory_(graves.dig(sizeof(T) + alignof(T))) {
    const auto at = (reinterpret_cast<std::uintptr_t>(memory_) + alignof(T) - 1) / alignof(T) * alignof(T);
    value_ = ::new (reinterpret_cast<void*>(at)) T(std::forward<A>(arguments)...);
  }
  ~Mortal() {
    value_->~T();
    std::memset(memory_, kGone, sizeof(T) + alignof(T));
  }
  Mortal(const Mortal&) = delete;
  Mortal& operator=(const Mortal&) = delete;
  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  unsigned char* memory_;
  T* value_;
};

// --- scripts: one round each, in the main task -------------------------------------------------------------

constexpr auto kSoon = 300us;  // about as long as a delay

void wait_with_limit(Graves&) {
  const auto sleeper = create_task([] { sleep(kSoon); });
  static_cast<void>(wait(std::vector<Task<>>{sleeper}, {.timeout = kSoon}));
  // What the first one left behind must not end the second one.
  const auto second = create_task([] { sleep(kSoon); });
  const auto result = wait(std::vector<Task<>>{second}, {.timeout = 60s});
  TASK_CHECK(result.pending.empty());
  sleeper.wait();
}

void as_completed_with_limit(Graves&) {
  std::vector<Task<>> tasks;
  for (int i = 0; i < 2; ++i) tasks.push_back(create_task([] { sleep(kSoon); }));
  try {
    for (const Task<>& task : as_completed(tasks, kSoon)) task.wait();
  } catch (const TimeoutError&) {
  }
  for (const Task<>& task : tasks) task.wait();
}

void as_completed_dropped_elsewhere(Graves&) {
  std::vector<Task<>> tasks{create_task([] { sleep(kSoon); })};
  auto completions = std::make_unique<AsCompleted<void>>(as_completed(tasks, kSoon));
  sleep(kSoon / 2);
  to_thread([&] { completions.reset(); });
  tasks.front().wait();
}

void timeout_at_its_end(Graves&) {
  try {
    timeout(kSoon, [] { sleep(kSoon); });
  } catch (const TimeoutError&) {
  }
  TASK_CHECK(current_task().cancelling() == 0);
  yield();  // nothing of the scope arrives later
}

void timeout_moved_at_its_end(Graves&) {
  try {
    timeout(kSoon, [](Timeout& scope) {
      try {
        sleep(kSoon);
        scope.reschedule(get_running_loop().time() + kSoon);
        sleep(kSoon);
      } catch (const RuntimeError&) {  // too late
        sleep(60s);
      }
    });
  } catch (const TimeoutError&) {
  }
  TASK_CHECK(current_task().cancelling() == 0);
  yield();
}

// The group ends while a plain thread is in its cancel().
void group_cancelled_from_outside(Graves&) {
  std::atomic<TaskGroup*> shared{nullptr};
  std::atomic<bool> is_over{false};
  std::thread outside([&] {
    TaskGroup* group = nullptr;
    while ((group = shared.exchange(nullptr)) == nullptr) std::this_thread::yield();
    group->cancel();
    is_over = true;
  });
  task_group([&](TaskGroup& group) {
    group.create_task([] { sleep(60s); });
    yield();
    shared = &group;
  });
  // The group waits for who is in here.
  TASK_CHECK(eventually_in_task([&] { return is_over.load(); }));
  TASK_CHECK(current_task().cancelling() == 0);
  yield();
  outside.join();
}

// The last child ends, and the parent goes on, while the child's end is told.
void group_left_by_its_last_child(Graves&) {
  int sum = 0;
  task_group([&](TaskGroup& group) {
    for (int i = 0; i < 3; ++i)
      group.create_task([&sum, i] {
        if (i == 0) ++sum;
      });
  });
  TASK_CHECK(sum == 1);
}

void group_fails(Graves&) {
  try {
    task_group([](TaskGroup& group) {
      group.create_task([] { sleep(60s); });
      group.create_task([] { throw std::runtime_error("fails"); });
    });
    TASK_CHECK(false);
  } catch (const ExceptionGroup&) {
  }
  TASK_CHECK(current_task().cancelling() == 0);
  yield();
}

void future_from_a_thread(Graves& graves) {
  Mortal<Future<std::string>> future(graves, get_running_loop().create_future<std::string>());
  std::thread producer(
      [copy = *future]() mutable { copy.set_result("a value that is longer than a small one"); });
  TASK_CHECK(await(*future).size() > 20);
  producer.join();
}

void future_for_a_thread(Graves& graves) {
  auto future = get_running_loop().create_future<int>();
  std::atomic<bool> is_over{false};
  std::thread consumer([&, copy = future] {
    Mortal<Future<int>> mine(graves, copy);
    TASK_CHECK(await(*mine) == 7);
    is_over = true;
  });
  auto producer = create_task([future]() mutable { future.set_result(7); });
  TASK_CHECK(eventually_in_task([&] { return is_over.load(); }));
  consumer.join();
  producer.wait();
}

void task_dropped_at_once(Graves&) {
  for (int i = 0; i < 4; ++i) {
    auto task = create_task([] { return std::string("nobody asks for it"); });
    if (i % 2 == 0) yield();
  }
  const auto last = create_task([] { return 1; });
  TASK_CHECK(await(last) == 1);
}

void gather_cancelled_at_its_end(Graves&) {
  auto outer =
      create_task([] { gather(create_task([] { sleep(kSoon); }), create_task([] { sleep(kSoon); })); });
  sleep(kSoon);
  outer.cancel();
  outer.wait();
}

void shield_left(Graves&) {
  const auto inner = create_task([] { sleep(kSoon); });
  auto outer = create_task([&] { shield(inner); });
  sleep(kSoon);
  outer.cancel();
  outer.wait();
  inner.wait();
}

void timer_dropped_as_it_fires(Graves&) {
  Event fired;
  {
    TimerHandle handle = get_running_loop().call_later(kSoon, [&] { fired.set(); });
    sleep(kSoon);
    if (handle.cancelled()) return;
  }
  fired.wait();
}

void event_of_one_wait(Graves& graves) {
  Task<> sets;
  {
    const Mortal<Event> event(graves);
    sets = create_task([&event = *event] { event.set(); });
    event->wait();
  }
  await(sets);
}

void event_of_a_thread(Graves& graves) {
  Event start;
  std::atomic<Event*> shared{nullptr};
  std::thread waits([&] {
    const Mortal<Event> event(graves);
    shared = &*event;
    event->wait();
  });
  TASK_CHECK(eventually_in_task([&] { return shared != nullptr; }));
  shared.load()->set();
  waits.join();
}

// The last owner destroys the lock.
void lock_let_go_by_its_last_owner(Graves& graves) {
  auto lock = std::make_unique<Mortal<Lock>>(graves);
  auto first = create_task([&lock = **lock] {
    const std::lock_guard guard(lock);
    yield();
  });
  yield();
  { const std::lock_guard guard(**lock); }
  if (first.done()) lock.reset();
  await(first);
}

void semaphore_let_go_by_its_last_user(Graves& graves) {
  Task<> gives;
  {
    const Mortal<Semaphore> semaphore(graves, 0);
    gives = create_task([&semaphore = *semaphore] { semaphore.release(); });
    semaphore->acquire();
  }
  await(gives);
}

void queue_let_go_by_its_reader(Graves& graves) {
  Task<> puts;
  {
    const Mortal<Queue<std::string>> queue(graves);
    puts = create_task([&queue = *queue] { queue.put("the only one"); });
    TASK_CHECK(queue->get() == "the only one");
  }
  await(puts);
}

void queue_let_go_by_who_joined(Graves& graves) {
  Task<> works;
  {
    const Mortal<Queue<int>> queue(graves);
    queue->put(1);
    works = create_task([&queue = *queue] {
      static_cast<void>(queue.get());
      queue.task_done();
    });
    queue->join();
  }
  await(works);
}

// asyncio's own example: the consumer is cancelled, and main ends.
void queue_let_go_with_a_cancelled_reader(Graves& graves) {
  Task<> consumer;
  {
    const Mortal<Queue<int>> queue(graves);
    consumer = create_task([&queue = *queue] {
      for (;;) static_cast<void>(queue.get());
    });
    TASK_CHECK(eventually_in_task([&] { return inspect(consumer).state == TaskState::kWaiting; }));
    consumer.cancel();
  }
  consumer.wait();
  TASK_CHECK(consumer.cancelled());
}

void condition_let_go_with_cancelled_waiters(Graves& graves) {
  std::vector<Task<>> tasks;
  {
    const Mortal<Condition> condition(graves);
    for (int i = 0; i < 2; ++i) {
      tasks.push_back(create_task([&condition = *condition] {
        const std::lock_guard guard(condition);
        condition.wait();
      }));
    }
    for (const auto& task : tasks) {
      TASK_CHECK(eventually_in_task([&] { return inspect(task).reason == WaitReason::kCondition; }));
    }
    for (const auto& task : tasks) task.cancel();
    for (const auto& task : tasks) task.wait();
  }
}

// Seen as: two tasks that had one lock. The notification that saw the task wait ended its wait for the lock.
void condition_notified_as_its_waiter_is_cancelled(Graves&) {
  Condition condition;
  bool is_inside = false;  // guarded by its lock
  auto waits = create_task([&] {
    const std::lock_guard guard(condition);
    try {
      condition.wait();
    } catch (const CancelledError&) {
    }
    TASK_CHECK(!is_inside);
  });
  TASK_CHECK(eventually_in_task([&] { return inspect(waits).reason == WaitReason::kCondition; }));
  std::thread cancels;
  {
    const std::lock_guard guard(condition);
    is_inside = true;
    cancels = std::thread([&waits] { waits.cancel(); });
    condition.notify();
    sleep(kSoon);
    is_inside = false;
  }
  cancels.join();
  waits.wait();
}

struct Script {
  const char* name;
  void (*round)(Graves& graves);
};

constexpr Script kScripts[] = {
    {"wait_with_limit", wait_with_limit},
    {"as_completed_with_limit", as_completed_with_limit},
    {"as_completed_dropped_elsewhere", as_completed_dropped_elsewhere},
    {"timeout_at_its_end", timeout_at_its_end},
    {"timeout_moved_at_its_end", timeout_moved_at_its_end},
    {"group_cancelled_from_outside", group_cancelled_from_outside},
    {"group_left_by_its_last_child", group_left_by_its_last_child},
    {"group_fails", group_fails},
    {"future_from_a_thread", future_from_a_thread},
    {"future_for_a_thread", future_for_a_thread},
    {"task_dropped_at_once", task_dropped_at_once},
    {"gather_cancelled_at_its_end", gather_cancelled_at_its_end},
    {"shield_left", shield_left},
    {"timer_dropped_as_it_fires", timer_dropped_as_it_fires},
    {"event_of_one_wait", event_of_one_wait},
    {"event_of_a_thread", event_of_a_thread},
    {"lock_let_go_by_its_last_owner", lock_let_go_by_its_last_owner},
    {"semaphore_let_go_by_its_last_user", semaphore_let_go_by_its_last_user},
    {"queue_let_go_by_its_reader", queue_let_go_by_its_reader},
    {"queue_let_go_by_who_joined", queue_let_go_by_who_joined},
    {"queue_let_go_with_a_cancelled_reader", queue_let_go_with_a_cancelled_reader},
    {"condition_notified_as_its_waiter_is_cancelled", condition_notified_as_its_waiter_is_cancelled},
    {"condition_let_go_with_cancelled_waiters", condition_let_go_with_cancelled_waiters},
};

void run_rounds(const Script& script, std::size_t workers, std::size_t rounds) {
  Graves graves;
  const NothingLeft nothing_left;
  EventLoop loop(test_config(workers, false));
  loop.run_until_complete([&] {
    for (std::size_t i = 0; i < rounds; ++i) script.round(graves);
  });
  check_idle(loop);
}

}  // namespace

TEST_CASE("What is gone right after its last wait is touched by nobody", "[ends][gone_at_once]") {
  Tally tally("gone_at_once");
  const std::size_t rounds = 16 * ends_rounds();
  for (const auto& [point, name] : kPoints) {
    INFO(name);
    const std::uint64_t before = delays_at(point);
    set_delay(point, 200);
    // Once more if nobody came there: a thread may have been too late to wait.
    for (int attempt = 0; attempt < 20 && delays_at(point) == before; ++attempt) {
      for (const Script& script : kScripts) {
        INFO(script.name);
        for (const std::size_t workers : {1, 2, 4}) {
          const std::uint64_t visits = delays_at(point);
          run_rounds(script, workers, rounds);
          report_failures();
          tally.run(std::string(script.name) + "@" + name, delays_at(point) != visits, true);
        }
      }
    }
    set_delay(DelayPoint::kNone, 0);
    CHECK(delays_at(point) != before);  // a point that no run reached
  }
}

#endif
