// What: ItemSlots and ItemLooks: an item that is found is not let go of before the look is over, and no slot is lost or
// given out twice, whoever gives it back.
#include "task/item_slots.hpp"

#include <set>

#include "model/protocols.hpp"

namespace model = fibrio::model;
using fibrio::detail::ItemLooks;
using fibrio::detail::ItemSlots;
using fibrio::model::testing::require_holds;
using fibrio::model::testing::require_killed;

namespace {

struct Item {
  model::Var<bool> is_alive{true};
};

// In the order of this word one of two fences is second, and has acquired what the first one's thread had stored.
struct Fence {
  static inline model::Atomic<unsigned>* word = nullptr;
  static void light() noexcept { word->fetch_add(1, std::memory_order_acq_rel); }
  static void heavy() noexcept { word->fetch_add(1, std::memory_order_acq_rel); }
};
struct NoLightFence : Fence {
  static void light() noexcept {}
};
struct NoHeavyFence : Fence {
  static void heavy() noexcept {}
};

using Slots = ItemSlots<Item, model::Atomic, 1>;

template <class Looks>
void expect_all_alive(Looks& looks, const Slots& slots) {
  looks.look(
      [&] { slots.for_each([](Item& item) { model::check(item.is_alive.get(), "found, and let go of"); }); });
}

// An item is listed, found or not, given back and let go of, by the owner or elsewhere.
template <class Fences>
model::Body comes_and_goes(bool elsewhere) {
  return [=](model::Execution& execution) {
    model::Atomic<unsigned> word{0};
    Fences::word = &word;
    ItemLooks<model::Atomic, Fences> looks;
    Slots slots;
    Item item;
    Slots::Slot* const slot = slots.take();
    Slots::put(*slot, item);
    execution.thread([&, slot] {
      if (elsewhere) {
        slots.give_back_elsewhere(*slot);
      } else {
        slots.give_back(*slot);
      }
      looks.wait();
      item.is_alive.set(false);
    });
    execution.thread([&] {
      for (int i = 0; i < 2; ++i) expect_all_alive(looks, slots);
    });
    execution.join();
  };
}

}  // namespace

TEST_CASE("ItemSlots: what is found is not let go of before the look is over", "[model][registry]") {
  require_holds(comes_and_goes<Fence>(false), {.preemption_bound = 3});
  require_holds(comes_and_goes<Fence>(true), {.preemption_bound = 3});
}

TEST_CASE("ItemSlots: without a fence on either side it would be", "[model][registry]") {
  require_killed(comes_and_goes<NoLightFence>(false));
  require_killed(comes_and_goes<NoHeavyFence>(false));
}

TEST_CASE("ItemSlots: a slot that came back from elsewhere is used again, and none is there twice",
          "[model][registry]") {
  require_holds([](model::Execution& execution) {
    model::Atomic<unsigned> word{0};
    Fence::word = &word;
    ItemLooks<model::Atomic, Fence> looks;
    Slots slots;
    Item items[4];
    Slots::Slot* const first = slots.take();
    Slots::Slot* const second = slots.take();
    Slots::put(*first, items[0]);
    Slots::put(*second, items[1]);
    for (int i = 0; i < 2; ++i) {
      execution.thread([&, i, slot = i == 0 ? first : second] {
        slots.give_back_elsewhere(*slot);
        looks.wait();
        items[i].is_alive.set(false);
      });
    }
    std::set<Slots::Slot*> taken;
    execution.thread([&] {  // the owner
      for (int i = 2; i < 4; ++i) {
        Slots::Slot* const slot = slots.take();
        model::check(taken.insert(slot).second, "given out twice");
        Slots::put(*slot, items[i]);
        expect_all_alive(looks, slots);
      }
    });
    execution.join();
    int found = 0;
    slots.for_each([&](Item& item) {
      model::check(&item == &items[2] || &item == &items[3], "an item of before");
      ++found;
    });
    model::check(found == 2, "an item is lost");
    for (int i = 0; i < 2; ++i) taken.insert(slots.take());
    model::check(taken.size() == 4, "a slot is lost, or was there twice");
  });
}
