// What: numbered Runnables for the tests of queues.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "queue/runnable.hpp"

namespace fibrio::detail {

struct Item : Runnable {
  std::size_t id = 0;
};

class Items {
 public:
  explicit Items(std::size_t count) : items_(std::make_unique<Item[]>(count)) {
    for (std::size_t i = 0; i < count; ++i) items_[i].id = i;
  }
  Runnable* operator[](std::size_t id) { return &items_[id]; }

  RunnableChain chain(std::size_t first_id, std::size_t end_id) {
    RunnableChain made;
    for (std::size_t id = first_id; id < end_id; ++id) made.push_back(&items_[id]);
    return made;
  }

 private:
  std::unique_ptr<Item[]> items_;
};

inline constexpr std::size_t kNoItem = static_cast<std::size_t>(-1);

inline std::size_t id_of(const Runnable* item) {
  return item == nullptr ? kNoItem : static_cast<const Item*>(item)->id;
}

// What pop_front gives until it gives null.
template <class Queue>
std::vector<std::size_t> drain(Queue& queue) {
  std::vector<std::size_t> ids;
  while (Runnable* item = queue.pop_front()) ids.push_back(id_of(item));
  return ids;
}

// first, first + 1, ... end - 1
inline std::vector<std::size_t> range(std::size_t first, std::size_t end) {
  std::vector<std::size_t> ids;
  for (std::size_t id = first; id < end; ++id) ids.push_back(id);
  return ids;
}

}  // namespace fibrio::detail
