// What: the words behind "nobody's frame or object goes while somebody is in it": FrameTimerState, and a FutureWord that
// one producer has claimed.
#include <array>
#include <cstdint>
#include <mutex>

#include "base/spin_lock.hpp"
#include "model/protocols.hpp"
#include "sched/frame_timer.hpp"
#include "task/future_word.hpp"

using namespace fibrio::model::testing;  // NOLINT
namespace model = fibrio::model;
using fibrio::detail::FrameTimerState;
using fibrio::detail::FutureWord;

namespace {

// --- FrameTimerState ---------------------------------------------------------------------------------------

enum class Leaves : std::uint8_t { after_settle, after_disarm, by_flag };

// A wheel that fires the one timer, or drops it; its owner disarms it, and its frame goes.
template <Leaves kHow, bool kDrop, template <class> class Atomic = model::Atomic>
void timer_against_owner(model::Execution& execution) {
  FrameTimerState<Atomic> timer;
  fibrio::detail::BasicSpinLock<model::Atomic> wheel;
  bool is_listed = true;  // guarded by wheel
  model::Var<int> frame{0};
  timer.arm();
  execution.thread([&] {
    bool acts = false;
    {
      const std::lock_guard guard(wheel);
      if (!std::exchange(is_listed, false)) return;
      acts = timer.claim(kDrop);
    }
    if (!acts) return;
    frame.set(frame.get() + 1);
    timer.finish();
  });
  const bool idle = timer.disarm([&] {
    const std::lock_guard guard(wheel);
    return std::exchange(is_listed, false);
  });
  if (kHow == Leaves::after_settle && !idle) timer.settle();
  if (kHow == Leaves::by_flag && !idle && !timer.has_begun()) timer.settle();
  const int fired = frame.get();
  model::check(fired == (idle ? 0 : 1), "disarmed in time, or fired once");
  frame.set(100);  // the frame goes: nobody may touch it any more
  execution.join();
  model::check(frame.get() == 100, "nobody touches the frame after its owner left");
}

// --- FutureWord, claimed -----------------------------------------------------------------------------------

struct Waiter {
  Waiter* next = nullptr;
  model::Var<int> told{0};
};

enum class Finish : std::uint8_t { locked, unlocked };

template <template <class> class Atomic>
struct Future {
  using Word = FutureWord<Atomic, Waiter>;
  Atomic<std::uintptr_t> word{0};
  model::Var<int> value{0};

  void tell(Waiter* newest_first) {
    for (Waiter* waiter = Word::reversed(newest_first); waiter != nullptr;) {
      Waiter* next = waiter->next;
      waiter->told.set(waiter->told.get() + 1);
      waiter = next;
    }
  }
  bool complete(int with) {
    if (!Word::lock(word)) return false;
    value.set(with);
    tell(Word::finish(word));
    return true;
  }
  // Its move takes a while, in which other threads run.
  template <Finish kHow>
  bool complete_claimed(int with) {
    if (!Word::claim(word)) return false;
    value.set(with);
    if (kHow == Finish::locked) Word::lock_claimed(word);
    tell(Word::finish(word));
    return true;
  }
  int add(Waiter& waiter) {
    if (Word::add(word, waiter)) return 0;
    model::check(value.get() != 0, "who learns 'done' sees the value");
    return 1;
  }
  // The newest one. Without kKeepsClaim: as if there were no claims.
  template <bool kKeepsClaim>
  bool remove_newest(Waiter& waiter) {
    if (kKeepsClaim) return Word::remove(word, [&](Waiter& listed) { return &listed == &waiter; }) != nullptr;
    if (!Word::lock_list(word)) return false;
    Word::unlock(word, waiter.next);
    return true;
  }
};

template <Finish kHow, template <class> class Atomic = model::Atomic>
void claim_against_producer(model::Execution& execution) {
  Future<Atomic> future;
  Waiter early;
  Waiter late;
  model::check(future.add(early) == 0, "pending");
  int completed = 0;
  execution.thread([&] { completed += future.template complete_claimed<kHow>(1) ? 1 : 0; });
  execution.thread([&] { completed += future.complete(2) ? 1 : 0; });
  const int learned = future.add(late);
  execution.join();
  model::check(completed == 1, "one producer wins");
  model::check(early.told.get() == 1, "who waits is told once");
  model::check(late.told.get() + learned == 1, "who comes late is told, or learns that it is done");
}

template <bool kKeepsClaim>
void remove_against_claim(model::Execution& execution) {
  Future<model::Atomic> future;
  std::array<Waiter, 2> waiters;
  for (auto& waiter : waiters) model::check(future.add(waiter) == 0, "pending");
  int completed = 0;
  execution.thread([&] { completed += future.complete_claimed<Finish::locked>(1) ? 1 : 0; });
  execution.thread([&] { completed += future.complete(2) ? 1 : 0; });
  const bool removed = future.remove_newest<kKeepsClaim>(waiters[1]);
  if (removed) waiters[1].told.set(0);
  execution.join();
  model::check(completed == 1, "one producer wins");
  model::check(waiters[1].told.get() + (removed ? 1 : 0) == 1, "told, or removed");
  model::check(waiters[0].told.get() == 1, "who stays is told");
}

// A claim that is taken back: the other producer wins before it, or after it, or loses to it and nobody wins.
void claim_taken_back(model::Execution& execution) {
  using Word = FutureWord<model::Atomic, Waiter>;
  Future<model::Atomic> future;
  Waiter waiter;
  int completed = 0;
  execution.thread([&] {
    if (!Word::claim(future.word)) return;
    Word::lock_claimed(future.word);
    Word::unlock(future.word, Word::list(future.word));
  });
  execution.thread([&] { completed = future.complete(1) ? 1 : 0; });
  const int learned = future.add(waiter);
  execution.join();
  if (completed == 0) model::check(future.complete(3), "it is pending again");
  model::check(waiter.told.get() + learned == 1, "told, or learned that it is done");
}

}  // namespace

TEST_CASE("FrameTimerState: nobody touches a timer's frame once its owner has left", "[model][frame_timer]") {
  require_holds(timer_against_owner<Leaves::after_settle, false>);
  require_killed(timer_against_owner<Leaves::after_disarm, false>);
  require_killed(timer_against_owner<Leaves::by_flag, false>);
  require_killed(timer_against_owner<Leaves::after_settle, false, NoRelease>);
}

TEST_CASE("FrameTimerState: a timer that its wheel lets go of is idle", "[model][frame_timer]") {
  require_holds(timer_against_owner<Leaves::after_settle, true>);
}

TEST_CASE("FutureWord: who claims it wins, and tells each waiter once", "[model][future_word]") {
  require_holds(claim_against_producer<Finish::locked>);
  require_killed(claim_against_producer<Finish::unlocked>);
  require_killed(claim_against_producer<Finish::locked, NoRelease>);
}

TEST_CASE("FutureWord: a waiter leaves a claimed future, or is told", "[model][future_word]") {
  require_holds(remove_against_claim<true>);
  require_killed(remove_against_claim<false>);
}

TEST_CASE("FutureWord loses no waiter to a claim that is taken back", "[model][future_word]") {
  require_holds(claim_taken_back);
}
