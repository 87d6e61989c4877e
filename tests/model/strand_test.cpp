// What: the word of a strand under every interleaving: nothing that is pushed or poked is left in a strand that
// rests, and it runs in one place at a time.
#include <array>
#include <cstdint>

#include "model/protocols.hpp"
#include "sched/strand_inbox.hpp"

using namespace fibrio::model::testing;  // NOLINT
namespace model = fibrio::model;
using fibrio::detail::Runnable;
using fibrio::detail::RunnableChain;
using fibrio::detail::StrandInbox;

namespace {

// The real word, and ways to get it wrong.
template <template <class> class Atomic>
struct Right : StrandInbox<Atomic> {};

// Rests without a look at what came meanwhile.
template <template <class> class Atomic>
struct RestsBlindly {
  Atomic<std::uintptr_t> word{1};
  bool push(Runnable& item) noexcept {
    std::uintptr_t old = word.load(std::memory_order_relaxed);
    do {
      item.next = old == 1 ? nullptr : reinterpret_cast<Runnable*>(old);
    } while (!word.compare_exchange_weak(old, reinterpret_cast<std::uintptr_t>(&item),
                                         std::memory_order_acq_rel, std::memory_order_relaxed));
    return old == 1;
  }
  RunnableChain take() noexcept {
    RunnableChain chain;
    for (auto* item = reinterpret_cast<Runnable*>(word.exchange(0, std::memory_order_acquire));
         item != nullptr;) {
      Runnable* older = item->next;
      chain.push_front(item);
      item = older;
    }
    return chain;
  }
  bool try_rest() noexcept {
    word.store(1, std::memory_order_release);
    return true;
  }
};

// Who pokes a strand that is not idle does nothing.
template <template <class> class Atomic>
struct ForgetsPokes {
  Atomic<std::uintptr_t> word{1};
  bool wake() noexcept {
    std::uintptr_t idle = 1;
    return word.compare_exchange_strong(idle, 0, std::memory_order_acq_rel, std::memory_order_acquire);
  }
  RunnableChain take() noexcept { return {}; }
  bool try_rest() noexcept {
    std::uintptr_t nothing = 0;
    return word.compare_exchange_strong(nothing, 1, std::memory_order_acq_rel, std::memory_order_acquire);
  }
};

// One strand, two that push to it, each with two items; whoever finds it idle runs it until it rests.
template <class Inbox>
struct Fixture {
  Inbox inbox;
  std::array<Item, 4> items;
  model::Var<int> runner{0};  // plain data of the strand
  model::Var<int> last_of[2] = {model::Var<int>(-1), model::Var<int>(-1)};

  void post(std::size_t i) {
    items[i].payload.set(7);
    if (inbox.push(items[i])) run_until_it_rests();
  }
  void run_until_it_rests() {
    do {
      runner.set(runner.get() + 1);  // a race if two run it
      RunnableChain taken = inbox.take();
      while (Runnable* item = taken.pop_front()) {
        const auto which = static_cast<int>(static_cast<Item*>(item) - items.data());
        model::check(last_of[which / 2].get() < which, "what one thread pushes is run in its order");
        last_of[which / 2].set(which);
        run(item);
      }
    } while (!inbox.try_rest());
  }
  void check_all_ran() {
    for (auto& item : items) model::check(item.runs.get() == 1, "each item is run exactly once");
  }
};

template <class Inbox>
void two_producers(model::Execution& execution) {
  Fixture<Inbox> f;
  execution.thread([&] {
    f.post(0);
    f.post(1);
  });
  execution.thread([&] {
    f.post(2);
    f.post(3);
  });
  execution.join();
  f.check_all_ran();
}

// A poke, as of an alarm or of who armed an earlier timer: what was done before it is seen by a pass after it.
template <class Inbox>
void poke(model::Execution& execution) {
  Inbox inbox;
  model::Atomic<int> armed{0};  // stands for the timer
  model::Var<int> seen{0};
  const auto run_it = [&] {
    do {
      static_cast<void>(inbox.take());
      seen.set(armed.load(std::memory_order_relaxed));
    } while (!inbox.try_rest());
  };
  execution.thread([&] {
    if (inbox.wake()) run_it();
  });
  execution.thread([&] {
    armed.store(1, std::memory_order_relaxed);
    if (inbox.wake()) run_it();
  });
  execution.join();
  model::check(seen.get() == 1, "a pass after the poke sees what was armed before it");
}

}  // namespace

TEST_CASE("StrandInbox: every item is run once, by one runner at a time, in order", "[model][strand]") {
  require_holds(two_producers<Right<model::Atomic>>);
}

TEST_CASE("StrandInbox: a poke is never lost", "[model][strand]") {
  require_holds(poke<Right<model::Atomic>>);
}

TEST_CASE("StrandInbox: a poke that nobody remembers is found", "[model][strand]") {
  require_killed(poke<ForgetsPokes<model::Atomic>>);
}

TEST_CASE("StrandInbox: a runner that rests without looking is found", "[model][strand]") {
  require_killed(two_producers<RestsBlindly<model::Atomic>>);
}

TEST_CASE("StrandInbox: publications that are too weak are found", "[model][strand]") {
  require_killed(two_producers<Right<NoRelease>>);
}
