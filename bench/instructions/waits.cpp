// Paths: futures, primitives and queues, with and without a wait.
#include <mutex>

#include "fibrio/fibrio.hpp"
#include "meter.hpp"

namespace fibrio::instructions {

namespace {

// Calls `count_them` beside a task that runs `other(stop)` until it has set `stop` and called `last`.
template <class Other, class CountThem, class Last>
void beside(Other other, CountThem count_them, Last last) {
  bool stop = false;
  auto task = create_task([&] { other(stop); });
  count_them();
  stop = true;
  last();
  await(task);
}

void future_round_trips(int operations) {
  EventLoop& loop = get_running_loop();
  auto ping = loop.create_future();
  auto pong = loop.create_future();
  auto other = create_task([&, operations] {
    for (int i = 0; i < operations; ++i) {
      await(ping);
      ping = loop.create_future();
      Future<> answer = pong;  // a handle of one's own: the partner replaces the shared one
      answer.set_result();
    }
  });
  for (int i = 0; i < operations; ++i) {
    Future<> answer = pong;
    Future<> question = ping;
    question.set_result();
    await(answer);
    pong = loop.create_future();
  }
  await(other);
}

void count_locks() {
  Lock lock;
  count("lock_free", 20'000, [&lock](int n) {
    for (int i = 0; i < n; ++i) std::lock_guard held(lock);
  });
  const auto lock_over_a_yield = [&lock] {
    std::lock_guard held(lock);
    yield();  // the other one comes and waits
  };
  beside(
      [&](const bool& stop) {
        while (!stop) lock_over_a_yield();
      },
      [&] {
        count("lock_handed_over_twice", 5'000, [&](int n) {
          for (int i = 0; i < n; ++i) lock_over_a_yield();
        });
      },
      [] {});
}

void count_events() {
  Event ping, pong;
  const auto round_trip = [&] {
    ping.set();
    pong.wait();
    pong.clear();
  };
  beside(
      [&](const bool& stop) {
        while (!stop) {
          ping.wait();
          ping.clear();
          pong.set();
        }
      },
      [&] {
        count("event_round_trip", 5'000, [&](int n) {
          for (int i = 0; i < n; ++i) round_trip();
        });
      },
      round_trip);
}

void count_semaphores() {
  Semaphore one(1);
  count("semaphore_free", 20'000, [&one](int n) {
    for (int i = 0; i < n; ++i) {
      one.acquire();
      one.release();
    }
  });
  Semaphore ping(0), pong(0);
  const auto round_trip = [&] {
    ping.release();
    pong.acquire();
  };
  beside(
      [&](const bool& stop) {
        while (!stop) {
          ping.acquire();
          pong.release();
        }
      },
      [&] {
        count("semaphore_round_trip", 5'000, [&](int n) {
          for (int i = 0; i < n; ++i) round_trip();
        });
      },
      round_trip);
}

void count_queues() {
  Queue<int> ping(1), pong(1);
  const auto round_trip = [&] {
    ping.put(1);
    return pong.get();
  };
  beside(
      [&](const bool& stop) {
        while (!stop) pong.put(ping.get());
      },
      [&] {
        count("queue_of_1_round_trip", 5'000, [&](int n) {
          for (int i = 0; i < n; ++i) round_trip();
        });
      },
      round_trip);
  Queue<int> wide(1024);
  count("queue_of_1024_transfer", 40'960, [&wide](int n) {
    auto consumer = create_task([&wide, n] {
      for (int i = 0; i < n; ++i) static_cast<void>(wide.get());
    });
    for (int i = 0; i < n; ++i) wide.put(i);
    await(consumer);
  });
}

}  // namespace

void count_waits() {
  count("future_round_trip", 5'000, future_round_trips);
  count_locks();
  count_events();
  count_semaphores();
  count_queues();
}

}  // namespace fibrio::instructions
