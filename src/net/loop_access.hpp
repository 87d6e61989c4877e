// What: what net/ needs of the loop room above it; defined in src/loop. All throw RuntimeError outside a
// running loop.
#pragma once

namespace fibrio::detail {

class FdWatch;
class NameLookups;

[[nodiscard]] NameLookups& names_of_running_loop();
[[nodiscard]] FdWatch& fd_watch_of_running_loop();

}  // namespace fibrio::detail
