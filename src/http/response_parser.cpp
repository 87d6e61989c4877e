#include "http/response_parser.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "http/text.hpp"

namespace fibrio::http {

namespace {

constexpr std::size_t kMaxFields = 500;
constexpr std::string_view kBegin = "HTTP/1.";
constexpr const char* kNoHttp = " does not begin as one of HTTP/1.1";
constexpr const char* kBadStatus = " has a malformed status line";
constexpr const char* kBadField = " has a malformed field";
constexpr const char* kBadLength = " has a malformed Content-Length";
constexpr const char* kTwoLengths = " has more than one Content-Length";
constexpr const char* kBothFramings = " has both Content-Length and Transfer-Encoding";
constexpr const char* kBadChunk = "'s body has a malformed chunk";
constexpr const char* kBadExtension = "'s body has a malformed chunk extension";
constexpr const char* kBadTrailer = "'s body has a malformed trailer";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t'; }

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  const char low = to_lower(c);
  return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

}  // namespace

bool ResponseParser::fail(const char* why) {
  failure_ = why;
  return false;
}

std::optional<std::string_view> ResponseParser::take_line(std::string_view& rest, const char* what) {
  const std::size_t end = rest.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  header_bytes_ += end + 1;
  has_bare_end_ = !line.ends_with('\r');
  if (!has_bare_end_) line.remove_suffix(1);
  // A CR elsewhere ends a line for some.
  if ((has_bare_end_ && !is_lenient_) || line.find('\r') != std::string_view::npos) {
    static_cast<void>(fail(what));
    return std::nullopt;
  }
  return line;
}

// --- the header --------------------------------------------------------------------------------------------

bool ResponseParser::read_header(std::span<const char> input, std::size_t& used) {
  std::string_view rest(input.data(), input.size());
  while (failure_ == nullptr && !is_header_done()) {
    if (state_ == State::kStatusLine) {
      const std::size_t size = std::min(rest.size(), kBegin.size());
      if (rest.substr(0, size) != kBegin.substr(0, size)) return fail(kNoHttp);
    }
    const auto line = take_line(rest, state_ == State::kStatusLine ? kBadStatus : kBadField);
    if (!line) break;
    if (header_bytes_ > max_header_bytes_) return fail(kHeaderTooLarge);
    if (!(state_ == State::kStatusLine ? read_status_line(*line) : add_line(*line))) return false;
  }
  used = input.size() - rest.size();
  if (failure_ != nullptr) return false;
  return is_header_done() || header_bytes_ + rest.size() <= max_header_bytes_ || fail(kHeaderTooLarge);
}

// "HTTP/1.1 200 OK"; also without the reason, and without the blank before it.
bool ResponseParser::read_status_line(std::string_view line) {
  line.remove_prefix(std::min(line.size(), kBegin.size()));
  if (line.empty() || !is_digit(line[0])) return fail(kNoHttp);
  if (line[0] > '1' && !is_lenient_) return fail(kNoHttp);
  version_ = line[0] == '0' ? 10 : 11;
  line.remove_prefix(1);
  const bool is_shaped = line.size() >= 4 && line[0] == ' ' && line[1] >= '1' && is_digit(line[1]) &&
                         is_digit(line[2]) && is_digit(line[3]) && (line.size() == 4 || line[4] == ' ');
  if (!is_shaped || !is_field_text(line)) return fail(kBadStatus);
  status_ = static_cast<unsigned>((line[1] - '0') * 100 + (line[2] - '0') * 10 + (line[3] - '0'));
  state_ = State::kFields;
  return true;
}

bool ResponseParser::add_line(std::string_view line) {
  if (!line.empty() && is_blank(line[0])) {
    if (field_.empty()) return fail(kBadField);
    if (!is_lenient_) return fail(" has a field over several lines");
    const std::string_view more = trim(line);
    if (!is_field_text(more)) return fail(kBadField);
    const bool is_begun = field_.size() > name_size_ + 2;
    if (!more.empty()) field_.append(is_begun ? " " : "").append(more);
    return true;
  }
  if (!field_.empty() && !add_field()) return false;
  if (line.empty()) return end_header();
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return fail(kBadField);
  std::string_view name = line.substr(0, colon);
  if (is_lenient_) name = trim(name);
  const std::string_view value = trim(line.substr(colon + 1));
  if (!is_token(name) || !is_field_text(value)) return fail(kBadField);
  field_.assign(name).append(": ").append(value);
  name_size_ = name.size();
  return true;
}

bool ResponseParser::add_field() {
  const std::string field = std::exchange(field_, {});
  const std::string_view name = std::string_view(field).substr(0, name_size_);
  const std::string_view value = trim(std::string_view(field).substr(name_size_ + 1));
  if (++count_ > kMaxFields) return fail(" has more than 500 fields");
  if (equals_without_case(name, "Content-Length")) return add_length(value);
  if (equals_without_case(name, "Transfer-Encoding") && !add_coding(value)) return false;
  if (equals_without_case(name, "Set-Cookie")) sets_cookies_ = true;
  fields_.add_parsed(field + "\r\n");
  return true;
}

// The same length several times, also as a list, is one (RFC 9110, 8.6). It is added at the end, if it holds.
bool ResponseParser::add_length(std::string_view value) {
  if (!is_lenient_ && length_) return fail(kTwoLengths);
  do {
    const auto number = parse_number(is_lenient_ ? take_item(value, ',') : value);
    if (!number) return fail(kBadLength);
    if (length_ && *length_ != *number) return fail(kTwoLengths);
    length_ = number;
  } while (is_lenient_ && !value.empty());
  return true;
}

bool ResponseParser::add_coding(std::string_view value) {
  if (version_ < 11 && !is_lenient_) return fail(" of HTTP/1.0 has a Transfer-Encoding");
  if (is_chunked_) return fail(" has a malformed Transfer-Encoding");
  if (!equals_without_case(value, "chunked")) return fail(" has a Transfer-Encoding other than chunked");
  is_chunked_ = true;
  return true;
}

bool ResponseParser::end_header() {
  if (is_chunked_ && length_) {
    if (!is_lenient_) return fail(kBothFramings);
    is_ambiguous_ = true;  // chunks hold, and the length is not passed on (RFC 9112, 6.3)
  } else if (length_) {
    fields_.add_parsed("Content-Length: " + std::to_string(*length_) + "\r\n");
  }
  if (version_ < 11 && is_chunked_) is_ambiguous_ = true;
  header_bytes_ = 0;
  if (is_head_ || status_ < 200 || status_ == 204 || status_ == 304) {
    state_ = State::kDone;
  } else if (is_chunked_) {
    state_ = State::kChunkSize;
  } else if (length_) {
    left_ = *length_;
    state_ = left_ == 0 ? State::kDone : State::kLength;
  } else {
    state_ = State::kUntilClose;
    is_ambiguous_ = true;
  }
  return true;
}

bool ResponseParser::keep_alive() const {
  if (is_ambiguous_ || failure_ != nullptr || fields_.has_token("Connection", "close")) return false;
  return version_ >= 11 || fields_.has_token("Connection", "keep-alive");
}

// --- the body ----------------------------------------------------------------------------------------------

bool ResponseParser::read_chunk_size(std::string_view line) {
  std::size_t digits = 0;
  left_ = 0;
  for (; digits < line.size() && hex_digit(line[digits]) >= 0; ++digits) {
    if (left_ > std::numeric_limits<std::uint64_t>::max() / 16) return fail(kBadChunk);
    left_ = left_ * 16 + static_cast<std::uint64_t>(hex_digit(line[digits]));
  }
  if (digits == 0) return fail(kBadChunk);
  std::string_view extension = line.substr(digits);
  if (is_lenient_) extension = trim(extension);
  if (!extension.empty()) {
    if (extension[0] != ';') return fail(kBadChunk);
    // A line end that could stand within quotes is one for other readers.
    if (!is_field_text(extension) || has_bare_end_) return fail(kBadExtension);
  }
  state_ = left_ == 0 ? State::kTrailer : State::kChunkData;
  return true;
}

bool ResponseParser::read_trailer(std::string_view line) {
  if (line.empty()) {
    state_ = State::kDone;
    return true;
  }
  if (header_bytes_ > max_header_bytes_ || ++count_ > kMaxFields || !is_field_text(line)) {
    return fail(kBadTrailer);
  }
  if (is_blank(line[0])) return is_lenient_ || fail(kBadTrailer);
  std::string_view name = line.substr(0, line.find(':'));
  if (is_lenient_) name = trim(name);
  return (name.size() < line.size() && is_token(name)) || fail(kBadTrailer);
}

bool ResponseParser::read_framing(std::string_view& rest) {
  const std::size_t before = header_bytes_;
  if (rest.empty()) return false;
  // At once: a line end may never come.
  if (state_ == State::kChunkSize && hex_digit(rest[0]) < 0) return fail(kBadChunk);
  if (state_ == State::kChunkEnd && rest[0] != '\r' && rest[0] != '\n') return fail(kBadChunk);
  if (state_ == State::kChunkEnd && rest[0] == '\r' && rest.size() > 1 && rest[1] != '\n')
    return fail(kBadChunk);
  const auto line = take_line(rest, state_ == State::kTrailer ? kBadTrailer : kBadChunk);
  if (!line) return false;
  if (state_ == State::kChunkEnd) {
    header_bytes_ = before;
    if (!line->empty()) return fail(kBadChunk);
    state_ = State::kChunkSize;
    return true;
  }
  if (state_ == State::kTrailer) return read_trailer(*line);
  if (!read_chunk_size(*line)) return false;
  // A size alone is not counted: chunks may be as many as they like.
  if (std::all_of(line->begin(), line->end(), [](char c) { return hex_digit(c) >= 0; }))
    header_bytes_ = before;
  return header_bytes_ <= max_header_bytes_ || fail("'s body has chunk extensions beyond max_header_bytes");
}

std::size_t ResponseParser::take(std::span<const char> input, std::size_t& used,
                                 std::span<std::byte> target) {
  std::string_view rest(input.data(), input.size());
  std::size_t filled = 0;
  while (failure_ == nullptr && state_ != State::kDone) {
    const bool is_data =
        state_ == State::kLength || state_ == State::kUntilClose || state_ == State::kChunkData;
    if (!is_data) {
      if (!read_framing(rest)) break;
      continue;
    }
    std::size_t count = std::min(rest.size(), target.size() - filled);
    if (state_ != State::kUntilClose) count = static_cast<std::size_t>(std::min<std::uint64_t>(count, left_));
    if (count == 0) break;
    std::memcpy(target.data() + filled, rest.data(), count);
    filled += count;
    rest.remove_prefix(count);
    if (state_ == State::kUntilClose) continue;
    left_ -= count;
    if (left_ == 0) state_ = state_ == State::kLength ? State::kDone : State::kChunkEnd;
  }
  used = input.size() - rest.size();
  return filled;
}

bool ResponseParser::put_eof() {
  if (state_ == State::kUntilClose) state_ = State::kDone;
  return state_ == State::kDone;
}

}  // namespace fibrio::http
