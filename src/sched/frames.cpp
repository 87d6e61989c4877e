// What: the memory of control blocks and states: the calling worker's left blocks first, then the allocator's.
#include <new>

#include "base/memory.hpp"
#include "fibrio/detail/future_state.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

void* allocate(std::size_t bytes) {
  Worker* const worker = this_worker();
  return worker == nullptr ? allocate_block(FrameCache::rounded(bytes)) : worker->frames.allocate(bytes);
}

void deallocate(void* memory, std::size_t bytes) noexcept {
  if (Worker* worker = this_worker()) {
    if (worker->frames.keep(memory, bytes)) return;
  }
  free_block(memory);
}

}  // namespace fibrio::detail
