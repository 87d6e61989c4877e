#include <fibrio/version.hpp>

namespace fibrio {

// FIBRIO_VERSION is the build's reading of version.hpp.
std::string_view version() noexcept { return FIBRIO_VERSION; }

}  // namespace fibrio
