// What: the three queues of a worker under every interleaving: each item is taken once, with its data.
#include <array>
#include <cstdint>
#include <type_traits>

#include "model/protocols.hpp"
#include "queue/inject_queue.hpp"
#include "queue/lifo_slot.hpp"
#include "queue/run_queue.hpp"

using namespace fibrio::model::testing;  // NOLINT
namespace model = fibrio::model;
using fibrio::detail::InjectQueue;
using fibrio::detail::LifoSlot;
using fibrio::detail::RunnableChain;
using fibrio::detail::RunQueue;
using fibrio::detail::StealResult;

namespace {

// Only the compare-and-swap that moves the head is too weak.
struct DropReleaseOfSwaps {
  using Order = std::memory_order;
  static Order load(Order order) { return order; }
  static Order store(Order order) { return order; }
  static Order modify(Order order) { return order == Order::release ? Order::relaxed : order; }
};
template <class T>
using WeakSwaps = WeakAtomic<T, DropReleaseOfSwaps>;

// The head has no epoch: its word comes back to an old value when what was taken back is pushed again.
template <class T>
class NoEpoch : public model::Atomic<T> {
  using Base = model::Atomic<T>;
  using Order = std::memory_order;

 public:
  using Base::Base;
  bool compare_exchange_weak(T& expected, T desired, Order success, Order failure) noexcept {
    return Base::compare_exchange_weak(expected, cut(desired), success, failure);
  }
  bool compare_exchange_strong(T& expected, T desired, Order success, Order failure) noexcept {
    return Base::compare_exchange_strong(expected, cut(desired), success, failure);
  }

 private:
  static T cut(T value) {
    if constexpr (std::is_same_v<T, std::uint64_t>) return value & 0xff'ffff;
    return value;
  }
};

template <template <class> class Atomic, std::size_t Count>
struct RingFixture {
  RunQueue<Atomic, 2> ring;
  RunQueue<Atomic, 2> thiefs;
  InjectQueue<Atomic> overflow;
  std::array<Item, Count> items;

  Item* made(std::size_t i) {
    items[i].payload.set(7);
    return &items[i];
  }
  void steal_once() {
    fibrio::detail::Runnable* first = nullptr;
    if (ring.steal_into(thiefs, first) == StealResult::got) run(first);
    run(thiefs.pop_front());
  }
  void drain_and_check() {
    while (auto* item = ring.pop_front()) run(item);
    while (auto* item = thiefs.pop_front()) run(item);
    while (auto* item = overflow.pop_front()) run(item);
    for (auto& item : items) model::check(item.runs.get() == 1, "each item is taken exactly once");
  }
};

template <template <class> class Atomic>
void push_pop_steal(model::Execution& execution) {
  RingFixture<Atomic, 3> f;
  execution.thread([&] {
    f.ring.push_back(f.made(0), f.overflow);
    f.ring.push_back_quiet(f.made(1), f.overflow);
    run(f.ring.pop_front());
    f.ring.push_back(f.made(2), f.overflow);
    run(f.ring.pop_front());
  });
  execution.thread([&] {
    f.steal_once();
    f.steal_once();
  });
  execution.join();
  f.drain_and_check();
}

// Protocol 7.
template <template <class> class Atomic>
void take_back(model::Execution& execution) {
  RingFixture<Atomic, 3> f;
  execution.thread([&] {
    f.ring.push_back(f.made(0), f.overflow);
    f.ring.push_back_quiet(f.made(1), f.overflow);
    run(f.ring.pop_back());
    f.ring.push_back_quiet(f.made(2), f.overflow);
    run(f.ring.pop_back());
  });
  execution.thread([&] {
    f.steal_once();
    f.steal_once();
  });
  execution.join();
  f.drain_and_check();
}

// The last item, wanted by its owner and two thieves.
template <template <class> class Atomic>
void take_back_the_last(model::Execution& execution) {
  RingFixture<Atomic, 2> f;
  RunQueue<Atomic, 2> others;
  f.ring.push_back(f.made(0), f.overflow);
  execution.thread([&] {
    run(f.ring.pop_back());
    f.ring.push_back(f.made(1), f.overflow);
    run(f.ring.pop_back());
  });
  execution.thread([&] { f.steal_once(); });
  execution.thread([&] {
    fibrio::detail::Runnable* first = nullptr;
    if (f.ring.steal_into(others, first) == StealResult::got) run(first);
  });
  execution.join();
  while (auto* item = others.pop_front()) run(item);
  f.drain_and_check();
}

// Protocol 4: what a thief has read is not overwritten before. One try of the thief only: the checker's
// report of a possible load buffering cannot tell a guess that was dropped.
template <template <class> class Atomic>
void reuse_of_a_stolen_slot(model::Execution& execution) {
  RingFixture<Atomic, 4> f;
  f.ring.push_back(f.made(0), f.overflow);
  f.ring.push_back(f.made(1), f.overflow);
  execution.thread([&] {
    f.ring.push_back(f.made(2), f.overflow);
    f.ring.push_back(f.made(3), f.overflow);
  });
  execution.thread([&] {
    fibrio::detail::Runnable* first = nullptr;
    if (f.ring.steal_into(f.thiefs, first) == StealResult::got) run(first);
  });
  execution.join();
  f.drain_and_check();
}

template <template <class> class Atomic>
void overflow(model::Execution& execution) {
  RingFixture<Atomic, 4> f;
  execution.thread([&] {
    for (std::size_t i = 0; i < 4; ++i) f.ring.push_back(f.made(i), f.overflow);
    run(f.ring.pop_front());
  });
  execution.thread([&] { f.steal_once(); });
  execution.join();
  f.drain_and_check();
}

template <template <class> class Atomic>
void push_chain(model::Execution& execution) {
  RingFixture<Atomic, 4> f;
  execution.thread([&] {
    f.ring.push_back(f.made(0), f.overflow);
    RunnableChain chain;
    for (std::size_t i = 1; i < 4; ++i) chain.push_back(f.made(i));
    f.ring.push_chain(chain, f.overflow);
    run(f.ring.pop_front());
  });
  execution.thread([&] {
    f.steal_once();
    run(f.overflow.pop_front());
  });
  execution.join();
  f.drain_and_check();
}

template <template <class> class Atomic>
void two_thieves(model::Execution& execution) {
  RingFixture<Atomic, 3> f;
  RunQueue<Atomic, 2> others;
  execution.thread([&] {
    f.ring.push_back(f.made(0), f.overflow);
    f.ring.push_back(f.made(1), f.overflow);
    run(f.ring.pop_front());
    f.ring.push_back(f.made(2), f.overflow);
  });
  execution.thread([&] { f.steal_once(); });
  execution.thread([&] {
    fibrio::detail::Runnable* first = nullptr;
    if (f.ring.steal_into(others, first) == StealResult::got) run(first);
  });
  execution.join();
  while (auto* item = others.pop_front()) run(item);
  f.drain_and_check();
}

template <template <class> class Atomic>
void lifo_slot(model::Execution& execution) {
  LifoSlot<Atomic> slot;
  std::array<Item, 3> items;
  execution.thread([&] {
    for (auto& item : items) {
      item.payload.set(7);
      run(slot.exchange(&item));
    }
    run(slot.take());
  });
  execution.thread([&] {
    run(slot.steal());
    run(slot.steal());
  });
  execution.join();
  run(slot.take());
  for (auto& item : items) model::check(item.runs.get() == 1, "each item is taken exactly once");
}

template <template <class> class Atomic>
void inject_queue(model::Execution& execution) {
  InjectQueue<Atomic> queue;
  std::array<Item, 4> items;
  execution.thread([&] {
    items[0].payload.set(7);
    queue.push(&items[0]);
    items[1].payload.set(7);
    queue.push(&items[1]);
  });
  execution.thread([&] {
    items[2].payload.set(7);
    items[3].payload.set(7);
    RunnableChain chain;
    chain.push_back(&items[2]);
    chain.push_back(&items[3]);
    queue.push_chain(chain);
  });
  execution.thread([&] {
    auto taken = queue.pop(2);
    while (auto* item = taken.pop_front()) run(item);
    run(queue.pop_front());
  });
  execution.join();
  auto rest = queue.pop(SIZE_MAX);
  while (auto* item = rest.pop_front()) run(item);
  model::check(queue.is_empty_seq_cst(), "the size counts what is there");
  for (auto& item : items) model::check(item.runs.get() == 1, "each item is taken exactly once");
}

}  // namespace

template <>
inline void fibrio::detail::spin_pause<NoEpoch>() noexcept {
  fibrio::model::yield();
}

template <>
inline void fibrio::detail::spin_pause<WeakSwaps>() noexcept {
  fibrio::model::yield();
}

TEST_CASE("RunQueue gives each item once to its owner and a thief", "[model][run_queue]") {
  require_holds(push_pop_steal<model::Atomic>);
  require_killed(push_pop_steal<NoRelease>);
}

TEST_CASE("RunQueue gives what its owner takes back to nobody else", "[model][run_queue]") {
  require_holds(take_back<model::Atomic>);
  require_killed(take_back<NoEpoch>);
  require_holds(take_back_the_last<model::Atomic>);
}

TEST_CASE("RunQueue overflows without losing an item to the race with a thief", "[model][run_queue]") {
  require_holds(overflow<model::Atomic>);
  require_killed(overflow<NoRelease>);
}

TEST_CASE("RunQueue publishes a chain, and what finds no room overflows", "[model][run_queue]") {
  require_holds(push_chain<model::Atomic>);
  require_killed(push_chain<NoRelease>);
}

TEST_CASE("RunQueue lets one of two thieves have an item", "[model][run_queue]") {
  require_holds(two_thieves<model::Atomic>);
  require_killed(two_thieves<NoRelease>);
}

TEST_CASE("RunQueue lets no thief read a slot that is written again", "[model][run_queue]") {
  model::Options options;
  options.report_load_buffering = true;
  require_holds(reuse_of_a_stolen_slot<model::Atomic>, options);
  require_killed(reuse_of_a_stolen_slot<WeakSwaps>, options);
}

TEST_CASE("LifoSlot gives each item once to its owner or a thief", "[model][lifo_slot]") {
  require_holds(lifo_slot<model::Atomic>);
  require_killed(lifo_slot<NoRelease>);
}

TEST_CASE("InjectQueue gives each item of two pushers once", "[model][inject_queue]") {
  require_holds(inject_queue<model::Atomic>);
  require_killed(inject_queue<NoRelease>);
}
