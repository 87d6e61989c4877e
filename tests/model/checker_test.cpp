// What: the model checker checked: it finds the known bugs, each of them also at random, and leaves the
// corrected version of each alone.
#include <memory>
#include <stdexcept>
#include <string>

#include "model/checker.hpp"

namespace model = fibrio::model;
using model::Failure;
using namespace fibrio::model::testing;

namespace {

// A lock by compare_exchange; `is_broken` looks first and stores later.
struct CasLock {
  bool is_broken;
  std::memory_order unlock_order;
  model::Atomic<int> word{0};

  void lock() {
    for (;;) {
      int expected = 0;
      if (is_broken) {
        if (word.load(kAcquire) == 0) {
          word.store(1, kRelaxed);
          return;
        }
      } else if (word.compare_exchange_weak(expected, 1, kAcquire, kRelaxed)) {
        return;
      }
      model::yield();
    }
  }
  void unlock() { word.store(0, unlock_order); }
};

model::Body cas_lock(bool is_broken, std::memory_order unlock_order) {
  return [=](model::Execution& execution) {
    CasLock lock{is_broken, unlock_order};
    model::Var<int> count{0};
    const auto increment = [&] {
      lock.lock();
      count.set(count.get() + 1);
      lock.unlock();
    };
    execution.thread(increment);
    execution.thread(increment);
    execution.join();
    model::check(count.get() == 2, "no increment is lost");
  };
}

// A worker that parks when there is no work, and a producer that wakes it only if it is parked.
struct Parking {
  std::memory_order order;  // of the flags
  bool looks_again;         // after it announced that it sleeps
  model::Atomic<int> work{0};
  model::Atomic<bool> sleeps{false};
  model::Event event{};

  void consume() {
    while (work.load(order) == 0) {
      sleeps.store(true, order);
      if (!looks_again || work.load(order) == 0) event.wait();
      sleeps.store(false, order);
    }
  }
  void produce() {
    work.store(1, order);
    if (sleeps.load(order)) event.signal();
  }
};

model::Body parking(std::memory_order order, bool looks_again) {
  return [=](model::Execution& execution) {
    // seq_cst is the only order that is good for loads and stores besides relaxed.
    Parking state{order, looks_again};
    execution.thread([&] { state.consume(); }, "worker");
    execution.thread([&] { state.produce(); }, "producer");
    execution.join();
  };
}

// Treiber's stack over three nodes that are pushed again, which is what ABA needs.
struct Stack {
  static constexpr int kEnd = -1;
  bool has_tag;  // a counter beside the index: no ABA

  struct Head {
    std::int32_t index;
    std::uint32_t tag;
  };
  model::Atomic<Head> head{Head{kEnd, 0}};
  model::Atomic<int> next[3]{kEnd, kEnd, kEnd};
  model::Atomic<int> owners[3]{0, 0, 0};

  void push(int node) {
    Head old = head.load(kRelaxed);
    do {
      next[node].store(old.index, kRelaxed);
    } while (!head.compare_exchange_strong(old, Head{node, old.tag + (has_tag ? 1 : 0)}, kRelease, kRelaxed));
  }
  int pop() {
    Head old = head.load(kAcquire);
    while (old.index != kEnd) {
      const int after = next[old.index].load(kRelaxed);
      if (head.compare_exchange_strong(old, Head{after, old.tag + (has_tag ? 1 : 0)}, kAcqRel, kAcquire))
        break;
    }
    return old.index;
  }
  void own(int node) {
    if (node != kEnd) model::check(owners[node].fetch_add(1, kRelaxed) == 0, "a node has one owner");
  }
  void give_back(int node) {
    owners[node].fetch_sub(1, kRelaxed);
    push(node);
  }
};

model::Body recycling_stack(bool has_tag) {
  return [=](model::Execution& execution) {
    Stack stack{has_tag};
    stack.push(1);
    stack.push(0);
    execution.thread([&] { stack.own(stack.pop()); });
    execution.thread([&] {
      const int first = stack.pop();
      stack.own(first);
      stack.own(stack.pop());
      if (first != Stack::kEnd) stack.give_back(first);
    });
    execution.join();
    stack.own(stack.pop());
  };
}

// A stack whose pop stores the head instead of exchanging it.
model::Body naive_stack(bool is_naive) {
  return [=](model::Execution& execution) {
    model::Atomic<int> head{2};
    model::Atomic<int> taken{0};
    const auto pop = [&] {
      int top = head.load(kRelaxed);
      if (is_naive) {
        head.store(top - 1, kRelaxed);
      } else {
        while (!head.compare_exchange_weak(top, top - 1, kRelaxed)) {
        }
      }
      const int bit = 1 << top;
      model::check((taken.fetch_or(bit, kRelaxed) & bit) == 0, "an item is popped once");
    };
    execution.thread(pop);
    execution.thread(pop);
    execution.join();
  };
}

void two_increments(model::Execution& execution) {
  model::Atomic<int> x{0};
  const auto twice = [&] {
    x.fetch_add(1, kRelaxed);
    x.fetch_add(1, kRelaxed);
  };
  execution.thread(twice);
  execution.thread(twice);
  execution.join();
  model::check(x.load(kRelaxed) == 4, "none is lost");
}

}  // namespace

TEST_CASE("Model checker finds a lock that looks first and stores later, and one that does not release",
          "[model]") {
  require_found(Failure::kDataRace, cas_lock(true, kRelease));
  require_found(Failure::kDataRace, cas_lock(false, kRelaxed));
  require_clean(cas_lock(false, kRelease));
}

TEST_CASE("Model checker finds lost wake-ups of a parking worker as deadlocks", "[model]") {
  require_found(Failure::kDeadlock, parking(kSeqCst, false));
  require_found(Failure::kDeadlock, parking(kRelaxed, true));
  require_clean(parking(kSeqCst, true));
}

// tokio-rs/tokio#1768: the state was seq_cst, the queue was not.
TEST_CASE("Model checker finds a wake-up lost because the queue's own store is not seq_cst", "[model]") {
  const auto body = [](std::memory_order push) {
    return [push](model::Execution& execution) {
      model::Atomic<int> queue{0};
      model::Atomic<bool> sleeps{false};
      model::Event event;
      execution.thread([&] {
        sleeps.store(true, kSeqCst);
        if (queue.load(kSeqCst) == 0) event.wait();
      });
      execution.thread([&] {
        queue.store(1, push);
        if (sleeps.load(kSeqCst)) event.signal();
      });
      execution.join();
    };
  };
  require_found(Failure::kDeadlock, body(kRelease));
  require_clean(body(kSeqCst));
}

TEST_CASE("Model checker finds a stack without tag popping a recycled node twice", "[model]") {
  require_found(Failure::kCheck, recycling_stack(false));
  require_clean(recycling_stack(true));
}

TEST_CASE("Model checker finds a double pop", "[model]") {
  require_found(Failure::kCheck, naive_stack(true));
  require_clean(naive_stack(false));
}

TEST_CASE("Model checker lets compare_exchange_weak fail spuriously, and strong not", "[model]") {
  const auto body = [](bool weak) {
    return [weak](model::Execution& execution) {
      model::Atomic<int> x{0};
      int expected = 0;
      const bool exchanged = weak ? x.compare_exchange_weak(expected, 1, kRelaxed)
                                  : x.compare_exchange_strong(expected, 1, kRelaxed);
      model::check(exchanged, "nobody else is here");
      execution.join();
    };
  };
  require_found(Failure::kCheck, body(true));
  require_clean(body(false));
}

TEST_CASE("Model checker reports two threads that spin for each other as a livelock", "[model]") {
  require_found(Failure::kLivelock, [](model::Execution& execution) {
    model::Atomic<bool> a{false};
    model::Atomic<bool> b{false};
    execution.thread([&] {
      while (!a.load(kAcquire)) fibrio::detail::spin_pause<model::Atomic>();
      b.store(true, kRelease);
    });
    execution.thread([&] {
      while (!b.load(kAcquire)) fibrio::detail::spin_pause<model::Atomic>();
      a.store(true, kRelease);
    });
    execution.join();
  });
}

TEST_CASE("Model checker reports a loop that never pauses as a livelock", "[model]") {
  require_found(Failure::kLivelock, [](model::Execution& execution) {
    model::Atomic<bool> never{false};
    execution.thread([&] {
      while (!never.load(kAcquire)) {
      }
    });
    execution.join();
  });
}

TEST_CASE("Model checker lets a spinning thread see every store at last", "[model]") {
  require_clean([](model::Execution& execution) {
    model::Atomic<int> a{0};
    model::Atomic<int> b{0};
    execution.thread([&] {
      a.store(1, kRelaxed);
      b.store(1, kRelaxed);
    });
    execution.thread([&] {
      while (a.load(kRelaxed) + b.load(kRelaxed) != 2) model::yield();
    });
    execution.thread([&] {
      while (b.load(kRelaxed) == 0) model::yield();
      while (a.load(kRelaxed) == 0) model::yield();
    });
    execution.join();
  });
}

TEST_CASE("Model checker reports a deadlock of two mutexes", "[model]") {
  const auto body = [](bool same_order) {
    return [same_order](model::Execution& execution) {
      model::Mutex a;
      model::Mutex b;
      model::Var<int> data{0};
      const auto both = [&](model::Mutex& first, model::Mutex& second) {
        first.lock();
        second.lock();
        data.set(data.get() + 1);
        second.unlock();
        first.unlock();
      };
      execution.thread([&] { both(a, b); });
      execution.thread([&] { same_order ? both(a, b) : both(b, a); });
      execution.join();
      model::check(data.get() == 2, "both were in");
    };
  };
  require_found(Failure::kDeadlock, body(false));
  require_clean(body(true));
}

TEST_CASE("Model checker counts a semaphore's tokens", "[model]") {
  const auto body = [](std::uint32_t tokens) {
    return [tokens](model::Execution& execution) {
      model::Semaphore semaphore{tokens};
      model::Atomic<int> inside{0};
      for (int i = 0; i < 3; ++i) {
        execution.thread([&] {
          semaphore.acquire();
          model::check(inside.fetch_add(1, kRelaxed) < 2, "at most two are in");
          inside.fetch_sub(1, kRelaxed);
          semaphore.release();
        });
      }
      execution.join();
    };
  };
  require_found(Failure::kCheck, body(3));
  require_clean(body(2));
}

TEST_CASE("Model checker tries both ends of a timed wait", "[model]") {
  const auto body = [](bool expected) {
    return [expected](model::Execution& execution) {
      model::Event event;
      bool signalled = false;
      execution.thread([&] { event.signal(); });
      execution.thread([&] { signalled = event.wait_timed(); });
      execution.join();
      model::check(signalled == expected, "it ends the other way too");
    };
  };
  require_found(Failure::kCheck, body(false));
  require_found(Failure::kCheck, body(true));
}

TEST_CASE("Model checker reports who relies on a timeout as stuck", "[model]") {
  require_found(Failure::kDeadlock, [](model::Execution& execution) {
    model::Event event;
    execution.thread([&] {
      while (!event.wait_timed()) {
      }
    });
    execution.join();
  });
}

TEST_CASE("Model checker reports an atomic published by a relaxed pointer", "[model]") {
  const auto body = [](std::memory_order publish) {
    return [publish](model::Execution& execution) {
      std::unique_ptr<model::Atomic<int>> node;
      model::Atomic<model::Atomic<int>*> slot{nullptr};
      execution.thread([&] {
        node = std::make_unique<model::Atomic<int>>(7);
        slot.store(node.get(), publish);
      });
      execution.thread([&] {
        if (auto* const found = slot.load(kAcquire)) model::check(found->load(kRelaxed) == 7, "initialised");
      });
      execution.join();
    };
  };
  require_found(Failure::kDataRace, body(kRelaxed));
  require_clean(body(kRelease));
}

TEST_CASE("Model checker reports an object destroyed before its last use", "[model]") {
  const auto body = [](std::memory_order drop) {
    return [drop](model::Execution& execution) {
      struct Shared {
        model::Atomic<int> references{2};
        model::Var<int> data{0};
      };
      // In a slot of its own: a destroyed object's memory must stay readable for the checker.
      alignas(Shared) std::byte memory[sizeof(Shared)];
      auto* const shared = new (memory) Shared;
      const auto use_and_drop = [shared, drop] {
        static_cast<void>(shared->data.get());
        if (shared->references.fetch_sub(1, drop) == 1) shared->~Shared();
      };
      execution.thread(use_and_drop);
      execution.thread(use_and_drop);
      execution.join();
    };
  };
  require_found(Failure::kDataRace, body(kRelaxed));
  require_found(Failure::kDataRace, body(kRelease));
  require_clean(body(kAcqRel));
}

TEST_CASE("Model checker reports the use of a destroyed object", "[model]") {
  require_found(Failure::kDeadObject, [](model::Execution& execution) {
    using Word = model::Atomic<int>;
    alignas(Word) std::byte memory[sizeof(Word)];
    auto* const word = new (memory) Word{0};
    model::Atomic<bool> gone{false};
    execution.thread([&] {
      word->~Word();
      gone.store(true, kRelease);
    });
    execution.thread([&] {
      if (gone.load(kAcquire)) word->store(1, kRelaxed);
    });
    execution.join();
  });
}

TEST_CASE("Model checker reports exceptions that leave a thread or the body", "[model]") {
  require_found(Failure::kException, [](model::Execution& execution) {
    execution.thread([] { throw std::runtime_error("from the thread"); });
    execution.join();
  });
  require_found(Failure::kException, [](model::Execution&) { throw 42; });
}

TEST_CASE("Model checker keeps exceptions in flight apart", "[model]") {
  require_clean([](model::Execution& execution) {
    model::Atomic<int> x{0};
    const auto rethrow = [&](const std::string& text) {
      try {
        try {
          throw std::runtime_error(text);
        } catch (...) {
          x.fetch_add(1, kRelaxed);
          throw;
        }
      } catch (const std::runtime_error& error) {
        x.fetch_add(1, kRelaxed);
        model::check(error.what() == text, "a thread rethrows its own exception");
      }
    };
    execution.thread([&] { rethrow("one"); });
    execution.thread([&] { rethrow("two"); });
    execution.join();
  });
}

TEST_CASE("Model checker reports a body that does not join", "[model]") {
  require_found(Failure::kMisuse, [](model::Execution& execution) { execution.thread([] {}); });
}

TEST_CASE("Model checker reports orders that the operation does not have", "[model]") {
  require_found(Failure::kMisuse, [](model::Execution&) {
    model::Atomic<int> x{0};
    static_cast<void>(x.load(model::choose(2) == 0 ? kAcquire : kRelease));
  });
}

TEST_CASE("Model checker notices a body that is not deterministic", "[model]") {
  int executions = 0;
  const auto result = model::explore([&](model::Execution& execution) {
    model::Atomic<int> x{0};
    const auto touch = [&] { x.fetch_add(1, kRelaxed); };
    execution.thread(touch);
    execution.thread(touch);
    if (++executions == 2) execution.thread(touch);
    execution.join();
  });
  CHECK(result.failure == Failure::kNondeterministic);
}

TEST_CASE("Model checker sees exactly the interleavings of two threads of two steps", "[model]") {
  // 4! / (2! 2!) = 6, without a bound; with none allowed, one thread after the other.
  CHECK(model::explore({.preemption_bound = -1}, two_increments).schedules == 6);
  CHECK(model::explore({.preemption_bound = 1}, two_increments).schedules == 4);
  CHECK(model::explore({.preemption_bound = 0}, two_increments).schedules == 2);
}

TEST_CASE("Model checker lets a thread come before the first operation of the body that started it",
          "[model]") {
  bool came_first = false;
  const auto result = model::explore([&](model::Execution& execution) {
    model::Atomic<int> word{0};
    execution.thread([&] { word.store(1, kSeqCst); });
    if (word.load(kSeqCst) == 1) came_first = true;
    execution.join();
  });
  CHECK(result);
  CHECK(result.exhausted);
  CHECK(came_first);
}

TEST_CASE("Model checker tries every value of choose", "[model]") {
  unsigned seen = 0;
  const auto result = model::explore([&](model::Execution&) { seen |= 1U << model::choose(5); });
  CHECK(result);
  CHECK(result.schedules == 5);
  CHECK(seen == 0b11111);
}

TEST_CASE("Model checker stops at the limit of schedules and says so", "[model]") {
  model::Options options;
  options.max_schedules = 3;
  const auto result = model::explore(options, two_increments);
  CHECK(result);
  CHECK(!result.exhausted);
  CHECK(result.schedules == 3);
}

TEST_CASE("Model checker traces the failing execution with names, orders and stale reads", "[model]") {
  const auto body = [](model::Execution& execution) {
    model::Atomic<int> flag{0};
    flag.named("flag");
    execution.thread([&] { flag.store(1, kRelease); }, "writer");
    execution.thread([&] { model::check(flag.load(kAcquire) == 1, "the flag is up"); }, "reader");
    execution.join();
  };
  const auto result = model::explore(body);
  CAPTURE(result);
  REQUIRE(result.failure == Failure::kCheck);
  CHECK(result.message.find("the flag is up") != std::string::npos);
  CHECK(result.trace.find("T1(writer)  flag  store release 1") != std::string::npos);
  CHECK(result.trace.find("T2(reader)  flag  load acquire -> 0 (1 stores old)") != std::string::npos);
  CHECK(result.trace.find("checker_test.cpp:") != std::string::npos);
}

TEST_CASE("Model checker refuses a replay string that is none", "[model]") {
  CHECK(model::replay("nonsense", two_increments).failure == Failure::kMisuse);
}
