// What: the texts of cookies, for those who set and those who keep them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fibrio::http {

// The first value of `name` in a Cookie field; names have case.
[[nodiscard]] std::optional<std::string_view> find_cookie(std::string_view field, std::string_view name);
// What the prefix of `name` forbids; null if nothing.
[[nodiscard]] const char* prefix_problem(std::string_view name, bool is_secure, bool has_domain,
                                         std::string_view path);
// The date of an Expires attribute, in whatever shape (RFC 6265, 5.1.1), as Unix time.
[[nodiscard]] std::optional<std::int64_t> parse_cookie_date(std::string_view text);

}  // namespace fibrio::http
