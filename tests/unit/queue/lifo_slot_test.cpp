#include "queue/lifo_slot.hpp"

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "unit/queue/items.hpp"

namespace fibrio::detail {

TEST_CASE("LifoSlot::exchange returns what it puts out", "[lifo_slot]") {
  Items items(2);
  LifoSlot<> slot;
  CHECK(slot.empty());
  CHECK(slot.exchange(items[0]) == nullptr);
  CHECK_FALSE(slot.empty());
  CHECK(slot.exchange(items[1]) == items[0]);
  CHECK(slot.take() == items[1]);
  CHECK(slot.take() == nullptr);
}

TEST_CASE("LifoSlot::steal leaves nothing for the owner", "[lifo_slot]") {
  Items items(1);
  LifoSlot<> slot;
  CHECK(slot.steal() == nullptr);
  CHECK(slot.exchange(items[0]) == nullptr);
  CHECK(slot.steal() == items[0]);
  CHECK(slot.take() == nullptr);
  CHECK(slot.empty());
}

TEST_CASE("LifoSlot gives each item to one taker", "[lifo_slot]") {
  constexpr std::size_t kCount = 200'000;
  Items items(kCount);
  LifoSlot<> slot;
  std::atomic<bool> done{false};
  std::vector<std::size_t> stolen[2];
  std::vector<std::thread> thieves;
  for (auto& mine : stolen) {
    thieves.emplace_back([&] {
      while (!done.load(std::memory_order_acquire)) {
        if (Runnable* item = slot.steal()) {
          mine.push_back(id_of(item));
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  std::vector<std::size_t> owned;
  for (std::size_t id = 0; id < kCount; ++id) {
    if (Runnable* out = slot.exchange(items[id])) owned.push_back(id_of(out));
    if (id % 3 == 0) {
      if (Runnable* item = slot.take()) owned.push_back(id_of(item));
    }
  }
  if (Runnable* item = slot.take()) owned.push_back(id_of(item));
  done.store(true, std::memory_order_release);
  for (auto& thread : thieves) thread.join();

  std::vector<bool> seen(kCount);
  bool once = true;
  for (const auto* list : {&owned, &stolen[0], &stolen[1]}) {
    for (const std::size_t id : *list) {
      once &= !seen[id];
      seen[id] = true;
    }
  }
  CHECK(once);
  CHECK(owned.size() + stolen[0].size() + stolen[1].size() == kCount);
}

}  // namespace fibrio::detail
