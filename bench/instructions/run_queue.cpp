// Paths: the ring of a worker that has neighbours, without any.
#include "queue/run_queue.hpp"

#include <cstddef>
#include <memory>

#include "meter.hpp"
#include "queue/inject_queue.hpp"

namespace fibrio::instructions {

using namespace fibrio::detail;

void count_run_queue() {
  constexpr int kBatch = kRunQueueCapacity / 2;
  const auto items = std::make_unique<Runnable[]>(2 * kBatch);
  InjectQueue<> overflow;
  RunQueue<> victim;
  RunQueue<> thief;
  count("ring_push_pop", 200 * kBatch, [&](int n) {
    for (int done = 0; done < n; done += kBatch) {
      for (int i = 0; i < kBatch; ++i) victim.push_back(&items[static_cast<std::size_t>(i)], overflow);
      while (victim.pop_front() != nullptr) {
      }
    }
  });
  // An item's way into the victim's ring, out of it with half of them, and out of the thief's.
  count("ring_push_steal_pop", 200 * kBatch, [&](int n) {
    for (int done = 0; done < n; done += kBatch) {
      while (victim.size() < 2 * kBatch) victim.push_back(&items[victim.size()], overflow);
      Runnable* first = nullptr;
      static_cast<void>(victim.steal_into(thief, first));
      while (thief.pop_front() != nullptr) {
      }
    }
  });
}

}  // namespace fibrio::instructions
