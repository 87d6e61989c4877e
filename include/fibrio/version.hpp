// The version of the library: of these headers, and of the code that is linked. CMakeLists.txt reads it here.
#pragma once

#include <string_view>

namespace fibrio {

inline constexpr int kVersionMajor = 0;
inline constexpr int kVersionMinor = 1;
inline constexpr int kVersionPatch = 0;

// Returns the version of the library that is linked, as "MAJOR.MINOR.PATCH". Threads: any.
[[nodiscard]] std::string_view version() noexcept;

}  // namespace fibrio
