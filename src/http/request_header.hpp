// What: the header of a client's request, and what a client sends besides what its user asked for.
// Threads: tasks.
#pragma once

#include <string>
#include <string_view>

#include "fibrio/http/session.hpp"

namespace fibrio::http::detail {

// What the calendar says; with virtual time it goes on with that.
[[nodiscard]] CookieJar::Time calendar();

[[nodiscard]] std::string make_request_header(std::string_view method, const Url& url,
                                              const SessionOptions& session, const RequestOptions& request,
                                              bool with_credentials);
// Whether the user wants the connection to end with this request.
[[nodiscard]] bool asks_for_close(const SessionOptions& session, const RequestOptions& request);

}  // namespace fibrio::http::detail
