// What: what net/ needs of the loop room above it; defined in src/loop. All throw RuntimeError outside a
// running loop.
#pragma once

namespace fibrio {
class ThreadPool;
}

namespace fibrio::detail {

class FdWatch;

[[nodiscard]] ThreadPool& resolver_pool_of_running_loop();
[[nodiscard]] FdWatch& fd_watch_of_running_loop();

}  // namespace fibrio::detail
