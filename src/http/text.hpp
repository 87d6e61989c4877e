// What: the small rules of HTTP's texts that several files share: tokens, lists, percent-encoding, dates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fibrio::http {

[[nodiscard]] constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
[[nodiscard]] std::string lower(std::string_view text);
[[nodiscard]] bool equals_without_case(std::string_view a, std::string_view b) noexcept;
[[nodiscard]] bool is_token(std::string_view text) noexcept;
// What may stand in the value of a field.
[[nodiscard]] bool is_field_text(std::string_view text) noexcept;
// A CR or an LF without the other; a CR may be the last character.
[[nodiscard]] bool has_bare_line_end(std::string_view text) noexcept;
// What a target may consist of: printable ASCII, and no "#".
[[nodiscard]] bool is_target(std::string_view text) noexcept;
[[nodiscard]] std::string_view trim(std::string_view text) noexcept;
// Takes the next item off a list: what is before the next `separator`, trimmed.
[[nodiscard]] std::string_view take_item(std::string_view& list, char separator) noexcept;
// Decimal digits and nothing else; nothing if there are none or the number does not fit.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view digits) noexcept;
// Nothing if a '%' is not followed by two hexadecimal digits.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text);
// As in a query or a form: '+' is a space; such a '%' stands for itself.
[[nodiscard]] std::string form_decode(std::string_view text);
// Encodes all but letters, digits and "-._~". `is_form`: a space is '+'.
[[nodiscard]] std::string percent_encode(std::string_view text, bool is_form = false);
inline constexpr std::string_view kFormType = "application/x-www-form-urlencoded";
// "Sun, 06 Nov 1994 08:49:37 GMT"
[[nodiscard]] std::string format_date(std::int64_t unix_time);
[[nodiscard]] std::optional<std::int64_t> parse_date(std::string_view text);
// A host with an optional port, as in a Host field; an empty one too.
[[nodiscard]] bool is_host(std::string_view text) noexcept;
// Empty for a code that has no phrase of its own.
[[nodiscard]] std::string_view reason_of(unsigned status) noexcept;

}  // namespace fibrio::http
