// Rejected: replacing operator new for the whole program (its owner decides that, not a library); tbbmalloc
// in sanitizer builds (it hides use-after-free from ASan and gives TSan false races).
#include <cstdlib>
#include <new>

#include "base/memory.hpp"
#include "base/sanitizers.hpp"

#if !defined(FIBRIO_USE_MALLOC) && !defined(FIBRIO_ASAN) && !defined(FIBRIO_TSAN)
#define FIBRIO_TBBMALLOC 1
#include <oneapi/tbb/scalable_allocator.h>
#endif

namespace fibrio::detail {

void* allocate_block(std::size_t bytes) {
#ifdef FIBRIO_TBBMALLOC
  void* memory = scalable_malloc(bytes);
#else
  void* memory = std::malloc(bytes);
#endif
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void free_block(void* memory) noexcept {
#ifdef FIBRIO_TBBMALLOC
  scalable_free(memory);
#else
  std::free(memory);
#endif
}

void return_unused_memory() noexcept {
#ifdef FIBRIO_TBBMALLOC
  // tbbmalloc keeps what another thread freed until it is told (600,000 blocks of 256 B: 157 MiB).
  static_cast<void>(scalable_allocation_command(TBBMALLOC_CLEAN_ALL_BUFFERS, nullptr));
#endif
}

}  // namespace fibrio::detail
