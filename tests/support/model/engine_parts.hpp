// What: small functions that both halves of the engine need.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "support/model/engine.hpp"

namespace fibrio::model::detail {

using Words = std::array<std::uint64_t, sizeof(Times) / sizeof(std::uint64_t)>;

// A comparison of two Times is all ones where it holds.
template <class Mask>
[[nodiscard]] inline bool any(Mask mask) noexcept {
  const auto words = std::bit_cast<Words>(mask);
  return (words[0] | words[1]) != 0;
}

[[nodiscard]] inline Times later(Times a, Times b) noexcept { return a > b ? a : b; }

[[nodiscard]] inline Times all_times(std::int16_t time) noexcept { return Times{} + time; }

[[nodiscard]] inline std::string to_text(std::uint64_t value) {
  constexpr std::uint64_t kHexFrom = 1'000'000;
  if (value < kHexFrom) return std::to_string(value);
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

[[nodiscard]] inline std::string to_text(Where where) {
  const std::string_view path = where.file_name();
  const std::size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1)) + ":" +
         std::to_string(where.line());
}

}  // namespace fibrio::model::detail
