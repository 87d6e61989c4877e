// What: just enough of HTTP/1.1 over a StreamReader to check what others send, apart from fibrio::http.
// Threads: tasks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "fibrio/streams.hpp"

namespace fibrio::chaos {

struct Message {
  std::string header;  // with the first line
  std::string body;

  // The text behind "name: " up to the line's end; empty if there is none.
  [[nodiscard]] std::string_view field(std::string_view name) const;
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view name) const;
};

[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text, int base = 10);

// Reads one whole message. Nothing: the stream has ended before its first byte. Throws: IncompleteReadError if it
// ends later; std::system_error; std::runtime_error for what is no such message.
[[nodiscard]] std::optional<Message> read_message(StreamReader& reader);

}  // namespace fibrio::chaos
