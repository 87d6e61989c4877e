#include "chaos/message.hpp"

#include <charconv>
#include <stdexcept>

#include "fibrio/errors.hpp"

namespace fibrio::chaos {

namespace {

std::string read_chunks(StreamReader& reader) {
  std::string body;
  for (;;) {
    const std::string line = reader.readuntil("\r\n");
    const auto size = parse_number(std::string_view(line).substr(0, line.size() - 2), 16);
    if (!size) throw std::runtime_error("no size of a chunk: " + line);
    body += reader.readexactly(*size);
    if (reader.readexactly(2) != "\r\n") throw std::runtime_error("a chunk that does not end");
    if (*size == 0) return body;
  }
}

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || text.empty() || end != text.data() + text.size()) return {};
  return number;
}

std::string_view Message::field(std::string_view name) const {
  const std::string_view all = header;
  const std::size_t at = all.find("\r\n" + std::string(name) + ": ");
  if (at == std::string_view::npos) return {};
  const std::size_t begin = at + 4 + name.size();
  return all.substr(begin, all.find("\r\n", begin) - begin);
}

std::optional<std::uint64_t> Message::number(std::string_view name) const {
  return parse_number(field(name));
}

std::optional<Message> read_message(StreamReader& reader) {
  Message message;
  try {
    message.header = reader.readuntil("\r\n\r\n");
  } catch (const IncompleteReadError& error) {
    if (error.partial().empty()) return {};
    throw;
  }
  if (message.field("Transfer-Encoding") == "chunked") {
    message.body = read_chunks(reader);
  } else if (const auto length = message.number("Content-Length")) {
    message.body = reader.readexactly(*length);
  }
  return message;
}

}  // namespace fibrio::chaos
