// What: who waits for a future: by an await, by a composition, or as the group that a task belongs to.
// Threads: any. The caller holds a reference on the future. Takes memory.
#pragma once

#include <vector>

#include "fibrio/tasks.hpp"

namespace fibrio::detail {

// The tasks that wait for the future: by themselves, by a composition, or as the group it belongs to. The one
// that began first comes first, as far as they wait in the same way.
[[nodiscard]] std::vector<AnyTask> waiting_for(FutureState& future);
// Those that do so at this moment (the parent of a group only once it has left the group's body), those that wait for
// them, and so on.
[[nodiscard]] std::vector<AnyTask> all_waiting_for(FutureState& future);

}  // namespace fibrio::detail
