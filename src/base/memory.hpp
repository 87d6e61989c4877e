// What: the idle-time side of the allocation interface; allocate and deallocate are in fibrio/detail.
#pragma once

namespace fibrio::detail {

// Gives memory that the allocator holds back to the system; about 1 us if there is nothing. Threads: any.
void return_unused_memory() noexcept;

}  // namespace fibrio::detail
