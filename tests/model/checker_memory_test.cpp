// What: the model checker's memory model: which outcomes of the classical litmus tests it knows, and which
// it knows to be impossible.
#include "model/checker.hpp"

namespace model = fibrio::model;
using model::Failure;
using namespace fibrio::model::testing;

namespace {

struct Orders {
  std::memory_order store;
  std::memory_order load;
};

// Each thread raises its flag and looks at the other's: may both see nothing?
model::Body store_buffering(Orders orders) {
  return [orders](model::Execution& execution) {
    model::Atomic<int> x{0};
    model::Atomic<int> y{0};
    int seen_y = -1;
    int seen_x = -1;
    execution.thread([&] {
      x.store(1, orders.store);
      seen_y = y.load(orders.load);
    });
    execution.thread([&] {
      y.store(1, orders.store);
      seen_x = x.load(orders.load);
    });
    execution.join();
    model::check(seen_x == 1 || seen_y == 1, "one of the two sees the other");
  };
}

model::Body message_passing(Orders orders) {
  return [orders](model::Execution& execution) {
    model::Atomic<int> data{0};
    model::Atomic<bool> ready{false};
    execution.thread([&] {
      data.store(1, kRelaxed);
      ready.store(true, orders.store);
    });
    execution.thread([&] {
      if (ready.load(orders.load)) model::check(data.load(kRelaxed) == 1, "who sees the flag sees the data");
    });
    execution.join();
  };
}

model::Body plain_message_passing(Orders orders) {
  return [orders](model::Execution& execution) {
    model::Var<int> data{0};
    model::Atomic<bool> ready{false};
    execution.thread([&] {
      data.set(1);
      ready.store(true, orders.store);
    });
    execution.thread([&] {
      while (!ready.load(orders.load)) model::yield();
      model::check(data.get() == 1, "who sees the flag sees the data");
    });
    execution.join();
  };
}

// Two writers, two readers: do the readers agree which store came first?
model::Body independent_reads(Orders orders) {
  return [orders](model::Execution& execution) {
    model::Atomic<int> x{0};
    model::Atomic<int> y{0};
    int first_x = 0;
    int then_y = 0;
    int first_y = 0;
    int then_x = 0;
    execution.thread([&] { x.store(1, orders.store); });
    execution.thread([&] { y.store(1, orders.store); });
    execution.thread([&] {
      first_x = x.load(orders.load);
      then_y = y.load(orders.load);
    });
    execution.thread([&] {
      first_y = y.load(orders.load);
      then_x = x.load(orders.load);
    });
    execution.join();
    model::check(!(first_x == 1 && then_y == 0 && first_y == 1 && then_x == 0), "the readers agree");
  };
}

}  // namespace

TEST_CASE("Model checker lets store buffering miss both stores unless all is seq_cst", "[model]") {
  require_found(Failure::kCheck, store_buffering({kRelaxed, kRelaxed}));
  require_found(Failure::kCheck, store_buffering({kRelease, kAcquire}));
  require_found(Failure::kCheck, store_buffering({kSeqCst, kAcquire}));
  require_found(Failure::kCheck, store_buffering({kRelease, kSeqCst}));
  require_clean(store_buffering({kSeqCst, kSeqCst}));
}

TEST_CASE("Model checker orders store buffering through read-modify-writes of one word", "[model]") {
  require_clean([](model::Execution& execution) {
    model::Atomic<int> x{0};
    model::Atomic<int> y{0};
    model::Atomic<int> between{0};
    int seen_y = -1;
    int seen_x = -1;
    execution.thread([&] {
      x.store(1, kRelaxed);
      between.fetch_add(1, kAcqRel);
      seen_y = y.load(kRelaxed);
    });
    execution.thread([&] {
      y.store(1, kRelaxed);
      between.fetch_add(1, kAcqRel);
      seen_x = x.load(kRelaxed);
    });
    execution.join();
    model::check(seen_x == 1 || seen_y == 1, "one of the two sees the other");
  });
}

TEST_CASE("Model checker needs both release and acquire to pass a message", "[model]") {
  require_found(Failure::kCheck, message_passing({kRelaxed, kRelaxed}));
  require_found(Failure::kCheck, message_passing({kRelease, kRelaxed}));
  require_found(Failure::kCheck, message_passing({kRelaxed, kAcquire}));
  require_clean(message_passing({kRelease, kAcquire}));
}

TEST_CASE("Model checker reports a race on plain data passed without release and acquire", "[model]") {
  require_found(Failure::kDataRace, plain_message_passing({kRelaxed, kRelaxed}));
  require_found(Failure::kDataRace, plain_message_passing({kRelease, kRelaxed}));
  require_found(Failure::kDataRace, plain_message_passing({kRelaxed, kAcquire}));
  require_clean(plain_message_passing({kRelease, kAcquire}));
}

TEST_CASE("Model checker reports a write that a read does not precede", "[model]") {
  require_found(Failure::kDataRace, [](model::Execution& execution) {
    model::Var<int> data{0};
    execution.thread([&] { static_cast<void>(data.get()); });
    execution.thread([&] { data.set(1); });
    execution.join();
  });
}

TEST_CASE("Model checker lets a message pass through another thread's read-modify-write", "[model]") {
  const auto body = [](bool by_store) {
    return [by_store](model::Execution& execution) {
      model::Var<int> data{0};
      model::Atomic<int> stage{0};
      execution.thread([&] {
        data.set(1);
        stage.store(1, kRelease);
      });
      execution.thread([&] {
        if (by_store) {
          if (stage.load(kRelaxed) == 1) stage.store(2, kRelaxed);  // not part of the release sequence
        } else {
          int expected = 1;
          stage.compare_exchange_strong(expected, 2, kRelaxed);
        }
      });
      execution.thread([&] {
        if (stage.load(kAcquire) == 2) model::check(data.get() == 1, "the release sequence goes on");
      });
      execution.join();
    };
  };
  require_clean(body(false));
  require_found(Failure::kDataRace, body(true));
}

TEST_CASE("Model checker keeps reads of one word coherent", "[model]") {
  require_clean([](model::Execution& execution) {
    model::Atomic<int> x{0};
    execution.thread([&] {
      x.store(1, kRelaxed);
      x.store(2, kRelaxed);
    });
    execution.thread([&] {
      const int first = x.load(kRelaxed);
      model::check(x.load(kRelaxed) >= first, "no thread sees the word go back");
    });
    execution.join();
    model::check(x.load(kRelaxed) == 2, "join() happens after the threads");
  });
}

TEST_CASE("Model checker carries what a thread has read over a release and acquire", "[model]") {
  require_clean([](model::Execution& execution) {
    model::Atomic<int> x{0};
    model::Atomic<int> seen{0};
    execution.thread([&] { x.store(1, kRelaxed); });
    execution.thread([&] { seen.store(x.load(kRelaxed), kRelease); });
    execution.thread([&] {
      if (seen.load(kAcquire) == 1) model::check(x.load(kRelaxed) == 1, "coherence of two threads' reads");
    });
    execution.join();
  });
}

TEST_CASE("Model checker lets readers disagree on independent writes unless all is seq_cst", "[model]") {
  require_found(Failure::kCheck, independent_reads({kRelaxed, kRelaxed}));
  require_found(Failure::kCheck, independent_reads({kRelease, kAcquire}));
  require_clean(independent_reads({kSeqCst, kSeqCst}));
}

TEST_CASE("Model checker keeps Peterson's lock only if it is all seq_cst", "[model]") {
  const auto body = [](Orders orders) {
    return [orders](model::Execution& execution) {
      model::Atomic<bool> wants[2]{false, false};
      model::Atomic<int> turn{0};
      model::Var<int> count{0};
      const auto enter = [&](int me) {
        wants[me].store(true, orders.store);
        turn.store(1 - me, orders.store);
        while (wants[1 - me].load(orders.load) && turn.load(orders.load) == 1 - me) model::yield();
        count.set(count.get() + 1);
        wants[me].store(false, orders.store);
      };
      execution.thread([&] { enter(0); });
      execution.thread([&] { enter(1); });
      execution.join();
      model::check(count.get() == 2, "no increment is lost");
    };
  };
  require_found(Failure::kDataRace, body({kRelease, kAcquire}));
  require_found(Failure::kDataRace, body({kSeqCst, kAcquire}));
  require_clean(body({kSeqCst, kSeqCst}), {.preemption_bound = 4});
}

// Three threads, two flags: what the first did is known to the third (ISA2).
TEST_CASE("Model checker makes release and acquire transitive", "[model]") {
  const auto body = [](Orders second) {
    return [second](model::Execution& execution) {
      model::Var<int> data{0};
      model::Atomic<bool> first_flag{false};
      model::Atomic<bool> second_flag{false};
      execution.thread([&] {
        data.set(1);
        first_flag.store(true, kRelease);
      });
      execution.thread([&] {
        if (first_flag.load(kAcquire)) second_flag.store(true, second.store);
      });
      execution.thread([&] {
        if (second_flag.load(second.load)) model::check(data.get() == 1, "the data came along");
      });
      execution.join();
    };
  };
  require_clean(body({kRelease, kAcquire}));
  require_found(Failure::kDataRace, body({kRelaxed, kAcquire}));
  require_found(Failure::kDataRace, body({kRelease, kRelaxed}));
}

// A ring of one slot: the reader's load of the slot must stay before the counter that frees the slot.
TEST_CASE("Model checker reports on request that a load may see a store it came before", "[model]") {
  const auto body = [](Orders freed) {
    return [freed](model::Execution& execution) {
      model::Atomic<int> slot{1};
      model::Atomic<int> taken{0};
      execution.thread([&] {
        const int item = slot.load(kRelaxed);
        taken.store(1, freed.store);
        model::check(item == 1, "the reader has what it took");
      });
      execution.thread([&] {
        if (taken.load(freed.load) == 1) slot.store(2, kRelaxed);
      });
      execution.join();
    };
  };
  model::Options exhaustive;
  exhaustive.report_load_buffering = true;
  model::Options random = model::random_search(kRandomSchedules);
  random.report_load_buffering = true;
  for (const auto& options : {exhaustive, random}) {
    CHECK(model::explore(options, body({kRelease, kAcquire})));
    CHECK(model::explore(options, body({kRelaxed, kAcquire})).failure == Failure::kLoadBuffering);
    const auto result = model::explore(options, body({kRelease, kRelaxed}));
    CHECK(result.failure == Failure::kLoadBuffering);
    CHECK(model::replay(result.choices, body({kRelease, kRelaxed})).failure == Failure::kLoadBuffering);
  }
  CHECK(model::explore(body({kRelaxed, kRelaxed})));  // not seen in the order of execution
}

TEST_CASE("Model Atomic does the arithmetic of std::atomic", "[model]") {
  require_clean([](model::Execution&) {
    model::Atomic<std::uint8_t> byte{250};
    model::check(byte.fetch_add(10, kRelaxed) == 250 && byte.load(kRelaxed) == 4, "wraps in its own width");
    model::check(byte.fetch_sub(5, kRelaxed) == 4 && byte.load(kRelaxed) == 255, "wraps downwards");
    model::check(byte.fetch_and(0x0f, kRelaxed) == 255 && byte.fetch_xor(0x05, kRelaxed) == 0x0f, "and, xor");
    model::check(byte.fetch_or(0x30, kRelaxed) == 0x0a && byte.exchange(1, kRelaxed) == 0x3a, "or, exchange");
    model::Atomic<std::int64_t> wide{-1};
    model::check(wide.fetch_sub(1, kRelaxed) == -1 && wide.load(kRelaxed) == -2, "negative numbers");
    int items[4] = {};
    model::Atomic<int*> pointer{items};
    pointer.fetch_add(3, kRelaxed);
    model::check(pointer.fetch_sub(1, kRelaxed) == items + 3 && pointer.load(kRelaxed) == items + 2,
                 "pointers");
    int expected = 5;
    model::Atomic<int> word{4};
    model::check(!word.compare_exchange_strong(expected, 9, kAcqRel) && expected == 4, "tells what it found");
  });
}
