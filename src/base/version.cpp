#include <fibrio/detail/build.hpp>
#include <fibrio/version.hpp>

extern "C" const char FIBRIO_BUILD = 0;

namespace fibrio {

// FIBRIO_VERSION is the build's reading of version.hpp.
std::string_view version() noexcept { return FIBRIO_VERSION; }

}  // namespace fibrio
