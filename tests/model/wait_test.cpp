// What: the words for which wakers, cancellers and completers race: WaitWord, FutureWord, Readiness.
#include <array>
#include <cstdint>
#include <mutex>

#include "base/spin_lock.hpp"
#include "model/protocols.hpp"
#include "poll/readiness.hpp"
#include "sched/wait_word.hpp"
#include "task/future_word.hpp"

using namespace fibrio::model::testing;  // NOLINT
namespace model = fibrio::model;
using fibrio::detail::FutureWord;
using fibrio::detail::Readiness;
using fibrio::detail::WaitPhase;
using fibrio::detail::WaitWord;

namespace {

// --- WaitWord ----------------------------------------------------------------------------------------------

// One wait, a waker with a value, and a canceller.
template <template <class> class Atomic>
void wake_against_cancel(model::Execution& execution) {
  using Word = WaitWord<Atomic>;
  Word word;
  model::Event listed;
  model::Var<int> value{0};
  int readied = 0;  // model threads take turns
  int delivered = 0;
  execution.thread([&] {
    const auto armed = word.arm(WaitPhase::waiting);
    listed.signal();
    if (armed == Word::Armed::armed) {
      // The run queue that would bring the task back orders more than the word does; so it looks at the word
      // alone.
      while (word.phase() != WaitPhase::running) model::yield();
    } else {
      model::check(armed == Word::Armed::cancelled, "the request that came first ends the wait");
      ++readied;
    }
    const bool by_cancel = word.was_cancelled();
    if (!by_cancel) model::check(value.get() == 1, "who won has published its value");
    if (word.take_cancellation()) ++delivered;
  });
  execution.thread([&] {
    listed.wait();
    value.set(1);
    if (word.resolve()) ++readied;
  });
  switch (word.request_cancel()) {
    case Word::Cancel::resolved:
      ++readied;
      break;
    case Word::Cancel::recorded:
      break;
    default:
      model::check(false, "neither finished nor awaiting");
  }
  execution.join();
  model::check(readied == 1, "exactly one ends the wait");
  if (word.take_cancellation()) ++delivered;
  model::check(delivered == 1, "the request is delivered once, or still there");
  model::check(word.count() == 1, "the request is counted");
}

// A masked wait: a cancel leaves its request, and only that.
void masked(model::Execution& execution) {
  using Word = WaitWord<model::Atomic>;
  Word word;
  model::Event listed;
  model::Event ready;
  execution.thread([&] {
    model::check(word.arm(WaitPhase::masked) == Word::Armed::armed, "nothing ends a masked wait early");
    listed.signal();
    ready.wait();
    model::check(!word.was_cancelled(), "a masked wait is not ended by a cancel");
  });
  execution.thread([&] {
    listed.wait();
    model::check(word.resolve(), "nobody else ends it");
    ready.signal();
  });
  model::check(word.request_cancel() == Word::Cancel::recorded, "a cancel is only recorded");
  execution.join();
  model::check(word.take_cancellation(), "the request is still there");
}

// C06: uncancel to zero against a new cancel.
template <class Word>
void uncancel_against_cancel(model::Execution& execution) {
  Word word;
  execution.thread([&] {
    static_cast<void>(word.request_cancel());
    static_cast<void>(word.uncancel());
  });
  static_cast<void>(word.request_cancel());
  execution.join();
  model::check(word.count() == 1, "the count is exact");
  model::check(word.take_cancellation(), "the new request is not lost");
}

// A scope of the task (a timeout) makes a request and withdraws it, against a cancel from outside and a
// delivery in between: what is pending at the end is the one from outside if it was not delivered, else nothing.
template <class Word>
void withdraw_against_cancel(model::Execution& execution) {
  Word word;
  std::uint32_t epoch = 0;
  std::uint32_t outside_epoch = 0;
  execution.thread([&] { static_cast<void>(word.request_cancel(&epoch)); });
  execution.thread([&] { static_cast<void>(word.request_cancel(&outside_epoch)); });
  const std::uint32_t deliveries = word.take_cancellation() ? 1 : 0;
  execution.join();
  model::check(word.withdraw(epoch) == 1, "the count is exact");
  model::check(word.take_cancellation() == (outside_epoch == deliveries),
               "exactly what others asked for is delivered");
}

struct UncancelOnly : WaitWord<model::Atomic> {  // the undelivered request stays unless it is the only one
  std::uint32_t withdraw(std::uint32_t) { return uncancel(); }
};

void cancels_are_counted(model::Execution& execution) {
  WaitWord<model::Atomic> word;
  execution.thread([&] { static_cast<void>(word.request_cancel()); });
  execution.thread([&] { static_cast<void>(word.request_cancel()); });
  unsigned taken_back = 0;
  if (word.count() > 0) {
    static_cast<void>(word.uncancel());
    taken_back = 1;
  }
  execution.join();
  model::check(word.count() == 2 - taken_back, "the count is exact");
  model::check(word.take_cancellation(), "one CancelledError for all");
  model::check(!word.take_cancellation(), "and only one");
}

// C04, C05: the last step of a task against a cancel.
template <class Word>
void finish_against_cancel(model::Execution& execution) {
  Word word;
  bool clean = false;
  execution.thread([&] { clean = word.finish(); });
  const auto result = word.request_cancel();
  execution.join();
  model::check(clean == (result == WaitWord<model::Atomic>::Cancel::finished),
               "a cancel that said yes came before the end, and the task knows it");
  model::check(word.count() == (clean ? 0 : 1), "what came too late is not counted");
}

enum class Forwarding { right, unlocks_too_early, records_only };

// A wait for a future: a canceller passes the request on to it while the future is completed.
template <Forwarding How>
void forward(model::Execution& execution) {
  using Word = WaitWord<model::Atomic>;
  Word word;
  model::Var<int> future_alive{1};  // the task lets go of it after its wait
  model::Event listed;
  model::Event ready;
  int delivered = 0;
  execution.thread([&] {
    const auto armed = word.arm(WaitPhase::awaiting);
    listed.signal();
    ready.wait();
    if (armed == Word::Armed::requested) ++delivered;  // it goes to the future
    if (word.take_cancellation()) ++delivered;
    future_alive.set(0);
  });
  execution.thread([&] {
    listed.wait();
    model::check(word.resolve(), "only the completer ends an await");
    ready.signal();
  });
  switch (word.request_cancel()) {
    case Word::Cancel::forward:
      if (How == Forwarding::unlocks_too_early) word.unlock();
      model::check(future_alive.get() == 1, "the future is there as long as the word is locked");
      if (How != Forwarding::unlocks_too_early) word.unlock();
      // The future was done.
      if (word.renew_request() == Word::Cancel::forward) word.record_and_unlock();
      break;
    case Word::Cancel::recorded:
      break;
    default:
      model::check(false, "neither finished nor waiting");
  }
  execution.join();
  if (word.take_cancellation()) ++delivered;
  model::check(delivered == 1, "the request is delivered once, or still there");
}

// The same, but the task is in its next wait, which nobody else ends, when the canceller learns that it came too
// late.
template <Forwarding How>
void forward_into_next_wait(model::Execution& execution) {
  using Word = WaitWord<model::Atomic>;
  Word word;
  model::Event listed;
  model::Event resumed;
  model::Event woken;
  execution.thread([&] {
    const auto first = word.arm(WaitPhase::awaiting);
    listed.signal();
    resumed.wait();
    if (first == Word::Armed::requested) return;  // it goes to the future
    if (word.take_cancellation()) return;
    if (word.arm(WaitPhase::waiting) == Word::Armed::armed) woken.wait();
    model::check(word.take_cancellation(), "the second wait is ended by the cancel");
  });
  execution.thread([&] {
    listed.wait();
    model::check(word.resolve(), "only the completer ends an await");
    resumed.signal();
  });
  const auto wake = [&](typename Word::Cancel result) {
    if (result == Word::Cancel::resolved) woken.signal();
    if (result == Word::Cancel::forward) word.record_and_unlock();
  };
  const auto result = word.request_cancel();
  if (result == Word::Cancel::forward) {
    word.unlock();
    if (How == Forwarding::records_only) {
      word.record_request();
    } else {
      wake(word.renew_request());
    }
  } else {
    wake(result);
  }
  execution.join();
}

// The task is resumed while a cancel is passed on to the future it waited for, and takes the request back
// before the canceller has learned that it came too late.
template <class Word>
void forward_taken_back(model::Execution& execution) {
  Word word;
  model::Event listed;
  model::Event ready;
  execution.thread([&] {
    static_cast<void>(word.arm(WaitPhase::awaiting));
    listed.signal();
    ready.wait();
    static_cast<void>(word.take_cancellation());
    static_cast<void>(word.uncancel());
  });
  execution.thread([&] {
    listed.wait();
    model::check(word.resolve(), "only the completer ends an await");
    ready.signal();
  });
  if (word.request_cancel() == WaitWord<model::Atomic>::Cancel::forward) {
    word.unlock();
    if (word.renew_request() == WaitWord<model::Atomic>::Cancel::forward) word.record_and_unlock();
  }
  execution.join();
  if (word.count() == 0) {
    model::check(!word.take_cancellation(), "no CancelledError that nobody asks for any more");
  }
}

enum class Holding { right, only_looks };

// Somebody looks at the stack of a task while its wait is ended: by a wake-up, or by a cancel.
template <Holding How, WaitPhase Phase, bool ByCancel>
void hold_against_end(model::Execution& execution) {
  using Word = WaitWord<model::Atomic>;
  Word word;
  model::Var<int> stack{0};
  model::Event listed;
  int readied = 0;
  execution.thread([&] {
    stack.set(1);  // the context is saved
    const auto armed = word.arm(Phase);
    listed.signal();
    if (armed == Word::Armed::cancelled) ++readied;
    while (word.phase() != WaitPhase::running) model::yield();
    stack.set(2);
  });
  execution.thread([&] {
    const bool holds = How == Holding::right ? word.hold() : word.phase() != WaitPhase::running;
    if (!holds) return;
    model::check(stack.get() == 1, "a task that is held does not run, and its context is saved");
    if (How == Holding::right) word.unlock();
  });
  if (ByCancel) {
    const auto cancel = word.request_cancel();
    if (cancel == Word::Cancel::resolved) ++readied;
    if (cancel == Word::Cancel::forward) word.unlock();
  }
  listed.wait();
  if (word.resolve()) ++readied;
  execution.join();
  model::check(readied == 1, "one makes it ready, held or not");
  model::check(word.count() == (ByCancel ? 1 : 0), "the request is counted, held or not");
}

// Thin copies with a bug.
struct TwoStepUncancel {  // count and flag changed one after the other
  model::Atomic<unsigned> requests{0};
  model::Atomic<bool> requested{false};
  bool request_cancel() {
    requests.fetch_add(1, kSeqCst);
    requested.store(true, kSeqCst);
    return true;
  }
  bool uncancel() {
    if (requests.fetch_sub(1, kSeqCst) == 1) requested.store(false, kSeqCst);
    return true;
  }
  unsigned count() { return requests.load(kSeqCst); }
  bool take_cancellation() { return requested.exchange(false, kSeqCst); }
};
struct TwoStepFinish {  // looks for a request, and only then says that it is finished
  using Cancel = WaitWord<model::Atomic>::Cancel;
  model::Atomic<unsigned> requests{0};
  model::Atomic<bool> finished{false};
  Cancel request_cancel() {
    if (finished.load(kSeqCst)) return Cancel::finished;
    requests.fetch_add(1, kSeqCst);
    return Cancel::recorded;
  }
  bool finish() {
    const bool clean = requests.load(kSeqCst) == 0;
    finished.store(true, kSeqCst);
    return clean;
  }
  unsigned count() { return requests.load(kSeqCst); }
};

struct BlindRecord {  // a request that was passed on too late is recorded, whatever became of it meanwhile
  using Cancel = WaitWord<model::Atomic>::Cancel;
  static constexpr unsigned kAwaiting = 1;
  static constexpr unsigned kRequested = 2;
  static constexpr unsigned kOne = 4;
  model::Atomic<unsigned> word{0};
  bool arm(WaitPhase) {
    word.fetch_or(kAwaiting, kSeqCst);
    return true;
  }
  bool resolve() { return (word.fetch_and(~kAwaiting, kSeqCst) & kAwaiting) != 0; }
  Cancel request_cancel() {
    unsigned old = word.load(kSeqCst);
    while (
        !word.compare_exchange_strong(old, old + kOne + ((old & kAwaiting) != 0 ? 0 : kRequested), kSeqCst)) {
    }
    return (old & kAwaiting) != 0 ? Cancel::forward : Cancel::recorded;
  }
  void unlock() {}
  Cancel renew_request() {
    word.fetch_or(kRequested, kSeqCst);
    return Cancel::recorded;
  }
  void record_and_unlock() {}
  bool take_cancellation() { return (word.fetch_and(~kRequested, kSeqCst) & kRequested) != 0; }
  unsigned uncancel() {
    unsigned old = word.load(kSeqCst);
    for (;;) {
      if (old / kOne == 0) return 0;
      unsigned now = old - kOne;
      if (now / kOne == 0) now &= ~kRequested;
      if (word.compare_exchange_strong(old, now, kSeqCst)) return now / kOne;
    }
  }
  unsigned count() { return word.load(kSeqCst) / kOne; }
};

// --- FutureWord --------------------------------------------------------------------------------------------

struct Waiter {
  Waiter* next = nullptr;
  model::Var<int> told{0};
};

// `OneSection` false: a producer that takes the list in one critical section, and says that it is done in a
// second one.
template <template <class> class Atomic, bool OneSection = true>
struct Future {
  using Word = FutureWord<Atomic, Waiter>;
  Atomic<std::uintptr_t> word{0};
  model::Var<int> value{0};

  bool complete(int with) {
    if (!Word::lock(word)) return false;
    value.set(with);
    Waiter* waiters = nullptr;
    if (OneSection) {
      waiters = Word::finish(word);
    } else {
      waiters = Word::list(word);
      Word::unlock(word, waiters);
      if (Word::lock(word)) static_cast<void>(Word::finish(word));
    }
    for (Waiter* waiter = Word::reversed(waiters); waiter != nullptr;) {
      Waiter* next = waiter->next;
      waiter->told.set(waiter->told.get() + 1);
      waiter = next;
    }
    return true;
  }
  // 1 if the future was done already, and then with its value.
  int add(Waiter& waiter) {
    if (Word::add(word, waiter)) return 0;
    model::check(value.get() != 0, "who learns 'done' sees the value");
    return 1;
  }
  bool remove(Waiter& waiter) {
    return Word::remove(word, [&](Waiter& listed) { return &listed == &waiter; }) != nullptr;
  }
};

// Two producers, one waiter that comes late and one that leaves.
template <template <class> class Atomic, bool OneSection = true>
void two_producers(model::Execution& execution) {
  Future<Atomic, OneSection> future;
  Waiter early;
  Waiter late;
  model::check(future.add(early) == 0, "pending");
  int completed = 0;
  int learned = 0;
  execution.thread([&] { completed += future.complete(1) ? 1 : 0; });
  execution.thread([&] { completed += future.complete(2) ? 1 : 0; });
  learned = future.add(late);
  execution.join();
  model::check(completed == 1, "one producer wins");
  model::check(early.told.get() == 1, "who waits is told once");
  model::check(late.told.get() + learned == 1, "who comes late is told, or learns that it is done");
}

template <bool OneSection = true>
void remove_against_complete(model::Execution& execution) {
  Future<model::Atomic, OneSection> future;
  std::array<Waiter, 3> waiters;
  for (auto& waiter : waiters) model::check(future.add(waiter) == 0, "pending");
  bool removed[2] = {};
  execution.thread([&] { static_cast<void>(future.complete(1)); });
  execution.thread([&] { removed[0] = future.remove(waiters[0]); });
  removed[1] = future.remove(waiters[2]);
  if (removed[1]) waiters[2].told.set(0);  // its frame goes: nobody may touch it any more
  execution.join();
  model::check(waiters[0].told.get() + (removed[0] ? 1 : 0) == 1, "told, or removed");
  model::check(waiters[1].told.get() == 1, "who stays is told");
  model::check(waiters[2].told.get() + (removed[1] ? 1 : 0) == 1, "told, or removed");
}

// A producer that takes its begin back, and an add meanwhile.
void abandon(model::Execution& execution) {
  using Word = FutureWord<model::Atomic, Waiter>;
  Future<model::Atomic> future;
  Waiter waiter;
  int learned = 0;
  execution.thread([&] {
    if (Word::lock(future.word)) Word::unlock(future.word, Word::list(future.word));
  });
  execution.thread([&] { static_cast<void>(future.complete(1)); });
  learned = future.add(waiter);
  execution.join();
  model::check(waiter.told.get() + learned == 1, "told, or learned that it is done");
}

// --- Readiness ---------------------------------------------------------------------------------------------

// A clear that does not look whether an event came since.
struct BlindReadiness {
  model::Atomic<std::uint32_t> word{0};
  using Seen = std::uint32_t;
  Seen look() const { return word.load(kAcquire); }
  bool is_ready() const { return look() != 0; }
  static bool is_ready(Seen seen) { return seen != 0; }
  void on_event(bool) { word.store(1, kRelease); }
  void would_block(Seen) { word.store(0, kRelease); }
};

// The kernel makes data arrive twice, each time with one edge; a task reads both. The lock and the list are
// those of Registration.
template <class Ready>
void readiness(model::Execution& execution) {
  Ready ready;
  ready.on_event(false);  // registered as ready
  model::Atomic<int> bytes{0};
  model::Mutex lock;
  bool listed = false;
  model::Event resumed;
  execution.thread([&] {
    for (int got = 0; got < 2;) {
      const auto seen = ready.look();
      if (Ready::is_ready(seen)) {
        const int now = bytes.exchange(0, kAcqRel);
        got += now;
        if (now != 0) continue;
        ready.would_block(seen);
      }
      lock.lock();
      const bool sleep = !ready.is_ready();
      listed = sleep;
      lock.unlock();
      if (sleep) resumed.wait();
    }
  });
  for (int i = 0; i < 2; ++i) {
    bytes.fetch_add(1, kAcqRel);
    lock.lock();
    ready.on_event(false);
    const bool wake = std::exchange(listed, false);
    lock.unlock();
    if (wake) resumed.signal();
  }
  execution.join();
}

}  // namespace

TEST_CASE("WaitWord lets one of waker and canceller end a wait", "[model][wait_word]") {
  require_holds(wake_against_cancel<model::Atomic>);
  require_killed([](model::Execution& execution) { wake_against_cancel<NoRelease>(execution); });
}

TEST_CASE("WaitWord keeps a request that comes in a masked wait", "[model][wait_word]") {
  require_holds(masked);
}

TEST_CASE("WaitWord loses no new request to an uncancel", "[model][wait_word]") {
  require_holds(uncancel_against_cancel<WaitWord<model::Atomic>>);
  require_killed(uncancel_against_cancel<TwoStepUncancel>);
}

TEST_CASE("WaitWord withdraws a scope's own request and no other", "[model][wait_word]") {
  require_holds(withdraw_against_cancel<WaitWord<model::Atomic>>);
  require_killed(withdraw_against_cancel<UncancelOnly>);
}

TEST_CASE("WaitWord counts every cancel, and delivers them as one", "[model][wait_word]") {
  require_holds(cancels_are_counted);
}

TEST_CASE("WaitWord counts no cancel after the task's last step", "[model][wait_word]") {
  require_holds(finish_against_cancel<WaitWord<model::Atomic>>);
  require_killed(finish_against_cancel<TwoStepFinish>);
}

TEST_CASE("WaitWord keeps the awaited future alive while a cancel is passed on", "[model][wait_word]") {
  require_holds(forward<Forwarding::right>);
  require_killed(forward<Forwarding::unlocks_too_early>);
}

TEST_CASE("WaitWord keeps a task that is looked at from running", "[model][wait_word]") {
  require_holds(hold_against_end<Holding::right, WaitPhase::waiting, false>);
  require_holds(hold_against_end<Holding::right, WaitPhase::waiting, true>);
  require_holds(hold_against_end<Holding::right, WaitPhase::awaiting, true>);
  require_killed(hold_against_end<Holding::only_looks, WaitPhase::waiting, false>);
  require_killed(hold_against_end<Holding::only_looks, WaitPhase::waiting, true>);
}

TEST_CASE("A cancel that was passed on too late ends the wait that came next", "[model][wait_word]") {
  require_holds(forward_into_next_wait<Forwarding::right>);
  require_killed(forward_into_next_wait<Forwarding::records_only>);
}

TEST_CASE("A cancel that was taken back while it was passed on does not come back", "[model][wait_word]") {
  require_holds(forward_taken_back<WaitWord<model::Atomic>>);
  require_killed(forward_taken_back<BlindRecord>);
}

TEST_CASE("FutureWord lets one of two producers complete it, and tells each waiter once",
          "[model][future_word]") {
  require_holds(two_producers<model::Atomic>);
  require_killed(two_producers<model::Atomic, false>);
  require_killed([](model::Execution& execution) { two_producers<NoRelease>(execution); });
}

TEST_CASE("FutureWord tells a waiter or gives it back, never both, never neither", "[model][future_word]") {
  require_holds(remove_against_complete<>);
  require_killed(remove_against_complete<false>);
}

TEST_CASE("FutureWord loses no waiter to a completion that is taken back", "[model][future_word]") {
  require_holds(abandon);
}

TEST_CASE("Readiness loses no event between a call that would block and its clear", "[model][readiness]") {
  require_holds(readiness<Readiness<model::Atomic>>);
  require_killed(readiness<BlindReadiness>);
}
