// What: headers of answers, as text.
// Threads: its connection's task.
#pragma once

#include <cstdint>
#include <string>

#include "fibrio/http/message.hpp"
#include "http/message_sender.hpp"

namespace fibrio::http {

// Whether a handler may answer with its status.
[[nodiscard]] inline bool is_final(const Response& response) {
  return (response.status >= 200 && response.status <= 999) || (response.status == 101 && response.upgrade);
}

class ResponseHeader {
 public:
  using Framing = MessageSender::Framing;
  struct Style {
    Framing framing = Framing::kLength;  // kUntilClose: also what has no body by definition
    int version = 11;
    bool keep_alive = true;
  };

  // Appends a header to `text`, as a whole or not at all (std::bad_alloc).
  void write(detail::Text& text, const Response& response, Style style, std::uint64_t length,
             std::int64_t unix_time);

 private:
  std::string head_;  // of a 200, with the date; made anew once a second
  std::int64_t date_time_ = -1;
};

}  // namespace fibrio::http
