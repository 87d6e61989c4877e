// What: the one place control blocks, states and queue nodes get their memory from in the end (design, D7).
// Threads: any.
#pragma once

#include <cstddef>

namespace fibrio::detail {

[[nodiscard]] void* allocate_block(std::size_t bytes);  // throws std::bad_alloc
void free_block(void* memory) noexcept;

// Gives memory that the allocator holds back to the system; about 1 us if there is nothing.
void return_unused_memory() noexcept;

}  // namespace fibrio::detail
