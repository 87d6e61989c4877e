// What: one worker's timers: who must be unparked, what is due, what can still be cancelled.
#include "sched/timers.hpp"

#include <vector>

#include "loop/loop_impl.hpp"
#include "support/catch.hpp"
#include "support/loops.hpp"

using fibrio::detail::TimerEntry;
using fibrio::detail::Timers;
using fibrio::detail::Worker;

namespace {

struct Entry : TimerEntry {
  Entry() : TimerEntry(&claimed) {}
  static Action claimed(TimerEntry& entry, bool drop) noexcept {
    auto& self = static_cast<Entry&>(entry);
    ++(drop ? self.dropped : self.fired);
    return {};
  }
  int fired = 0;
  int dropped = 0;
};

struct OneLoop {
  fibrio::EventLoop loop{fibrio::test::test_config(1)};
  Worker& worker = fibrio::detail::LoopAccess::impl(loop).scheduler.worker(0);
};

void fire_all(Timers& timers, Worker& worker) {
  while (timers.fire_one(worker)) {
  }
}

}  // namespace

TEST_CASE("Timers ask for an unpark only when the owner sleeps past the new deadline", "[timers]") {
  Timers timers(0);
  Entry early;
  Entry late;
  Entry latest;
  CHECK_FALSE(timers.arm(late, 5'000'000));  // awake
  CHECK(timers.park() <= 5'000'000);
  CHECK_FALSE(timers.arm(latest, 50'000'000));
  CHECK(timers.arm(early, 1'000));  // tokio#3190: an earlier timer must interrupt the sleep
  timers.unpark();
  CHECK(timers.cancel(early));
  CHECK_FALSE(timers.arm(early, 1'000));
  CHECK(timers.cancel(early));
  CHECK(timers.cancel(late));
  CHECK(timers.cancel(latest));
  CHECK(timers.park() == Timers::kNever);
  CHECK(timers.arm(late, 5'000'000));
  CHECK(timers.cancel(late));
}

TEST_CASE("Timers fire what is due, in order, and not what is not", "[timers]") {
  OneLoop one;
  Timers timers(0);
  Entry entries[3];
  static_cast<void>(timers.arm(entries[0], 2'000'000));
  static_cast<void>(timers.arm(entries[1], 1'000'000));
  static_cast<void>(timers.arm(entries[2], 1'000'000));
  CHECK(timers.size() == 3);
  CHECK(timers.next_deadline() == 1'000'000);
  CHECK_FALSE(timers.advance(999'999));
  CHECK(timers.advance(1'000'000));
  CHECK(timers.fire_one(one.worker));
  CHECK(entries[1].fired == 1);
  CHECK(entries[2].fired == 0);
  fire_all(timers, one.worker);
  CHECK(entries[2].fired == 1);
  CHECK(entries[0].fired == 0);
  CHECK_FALSE(timers.has_due());
  CHECK(timers.advance(2'000'000));
  fire_all(timers, one.worker);
  CHECK(entries[0].fired == 1);
  CHECK(timers.next_deadline() == Timers::kNever);
}

TEST_CASE("A timer that is due can still be cancelled, and the others fire", "[timers]") {
  OneLoop one;
  Timers timers(0);
  Entry first;
  Entry second;
  static_cast<void>(timers.arm(first, 10));
  static_cast<void>(timers.arm(second, 20));
  CHECK(timers.advance(100));
  CHECK(timers.cancel(first));
  CHECK_FALSE(timers.cancel(first));
  fire_all(timers, one.worker);
  CHECK(first.fired == 0);
  CHECK(second.fired == 1);
  CHECK_FALSE(timers.cancel(second));
  // Nothing is left of what was cancelled while it was due.
  static_cast<void>(timers.arm(first, 150));
  CHECK(timers.advance(200));
  CHECK(timers.cancel(first));
  CHECK_FALSE(timers.fire_one(one.worker));
  CHECK_FALSE(timers.has_due());
  CHECK(timers.size() == 0);
}

TEST_CASE("An owner with due timers does not sleep", "[timers]") {
  OneLoop one;
  Timers timers(0);
  Entry entry;
  static_cast<void>(timers.arm(entry, 10));
  CHECK(timers.advance(10));
  CHECK(timers.park() == Timers::kAwake);
  timers.unpark();
  fire_all(timers, one.worker);
  CHECK(timers.park() == Timers::kNever);
}

TEST_CASE("What is taken at the end of a loop is dropped, due or not", "[timers]") {
  Timers timers(0);
  Entry due;
  Entry later;
  static_cast<void>(timers.arm(due, 10));
  static_cast<void>(timers.arm(later, Timers::kNever));
  CHECK(timers.advance(10));
  int taken = 0;
  while (TimerEntry* entry = timers.take_any()) {
    static_cast<void>(entry->claim(*entry, true));
    ++taken;
  }
  CHECK(taken == 2);
  CHECK(due.dropped == 1);
  CHECK(later.dropped == 1);
}
