// What: frames of RFC 6455: their headers, and the rules for what is in them. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fibrio::http {

enum class Opcode : std::uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10
};

inline constexpr std::size_t kMaxControl = 125;

struct FrameHeader {
  bool is_final = true;
  Opcode opcode = Opcode::kText;
  std::optional<std::array<char, 4>> mask;
  std::uint64_t length = 0;

  [[nodiscard]] bool is_control() const { return static_cast<std::uint8_t>(opcode) >= 8; }
};

// Reads a header from the begin of `input`; `used` is 0 if it is not all there. Throws: WebSocketError(1002)
// for one that no endpoint may send, whatever its role.
FrameHeader parse_frame_header(std::span<const char> input, std::size_t& used);
[[nodiscard]] std::string make_frame_header(const FrameHeader& header);

// Masks, or unmasks, `data`, which begins at byte `at` of its frame.
void apply_mask(std::span<char> data, const std::array<char, 4>& mask, std::uint64_t at) noexcept;

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;
// Whether an endpoint may send this code in a close.
[[nodiscard]] bool is_close_code(std::uint16_t code) noexcept;

// What Sec-WebSocket-Accept must be for a Sec-WebSocket-Key.
[[nodiscard]] std::string accept_of(std::string_view key);
// A fresh Sec-WebSocket-Key, and whether a text could be one.
[[nodiscard]] std::string make_key();
[[nodiscard]] bool is_key(std::string_view text);
// Random bytes that a peer cannot guess.
void fill_random(std::span<char> bytes);

}  // namespace fibrio::http
