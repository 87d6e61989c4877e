// libFuzzer: what parses bytes from strangers. The first byte chooses the parser, the second one how the rest
// is split: however it comes, the same requests, responses or frames must come out, with the same bodies.
#include <cstdio>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fibrio/http/url.hpp"
#include "fibrio/http/websocket.hpp"
#include "http/request_parser.hpp"
#include "http/response_parser.hpp"
#include "http/websocket_frame.hpp"

using namespace fibrio::http;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "http_fuzz: not so: %s\n", what);
  std::abort();
}

// Gives out the input in pieces whose sizes follow from a seed; 0: all at once.
class Pieces {
 public:
  Pieces(std::string_view input, unsigned seed) : input_(input), state_(seed) {}
  // What is there now; more after each call of more().
  [[nodiscard]] std::span<const char> data() const { return {input_.data() + begin_, end_ - begin_}; }
  void use(std::size_t count) {
    require(count <= end_ - begin_, "no more is used than there is");
    begin_ += count;
  }
  bool more() {
    if (end_ == input_.size()) return false;
    end_ += std::min(input_.size() - end_, step());
    return true;
  }
  std::size_t step() {
    if (state_ == 0) return input_.size() + 1;
    state_ = state_ * 1103515245 + 12345;
    return 1 + (state_ >> 16) % 9;
  }

 private:
  std::string_view input_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  unsigned state_;
};

// All complete requests of a connection, as text.
std::vector<std::string> requests(std::string_view input, unsigned seed) {
  Request request;
  RequestParser parser({2048, 20, 4096}, request);
  Pieces pieces(input, seed);
  std::vector<std::string> found;
  std::string body;
  bool is_in_body = false;
  for (;;) {
    std::size_t used = 0;
    auto progress = RequestParser::Progress::kNeedMore;
    if (!is_in_body) {
      progress = parser.read_header(pieces.data(), used);
      pieces.use(used);
      is_in_body = progress == RequestParser::Progress::kDone;
      if (is_in_body) {
        body.clear();
        require(request.target().starts_with('/') || request.target() == "*", "a target is a path");
        for (const auto& field : request.fields()) require(is_token(field.name), "a name is a token");
      }
    } else {
      std::byte target[64];
      std::size_t count = 0;
      progress = parser.read_body(pieces.data(), used,
                                  std::span(target).first(std::min<std::size_t>(64, pieces.step())), count);
      pieces.use(used);
      body.append(reinterpret_cast<const char*>(target), count);
      require(body.size() <= 4096, "a body keeps its limit");
      if (progress == RequestParser::Progress::kDone) {
        found.push_back(request.method() + " " + request.target() + "\n" +
                        std::string(request.fields().text()) + "\n" + body);
        parser.reset();
        is_in_body = false;
        if (found.size() > 50) return found;
        continue;
      }
      if (count > 0 && progress != RequestParser::Progress::kFailed) continue;
    }
    if (progress == RequestParser::Progress::kFailed) {
      const unsigned status = parser.failure_status();
      require(status >= 400 && status <= 505, "a failure has a status");
      return found;
    }
    if (progress == RequestParser::Progress::kNeedMore && !pieces.more()) return found;
  }
}

// The first response, if it is complete, as text.
std::string response(std::string_view input, unsigned seed) {
  ResponseParser parser(2048, false);
  Pieces pieces(input, seed);
  std::string body;
  while (!parser.is_header_done()) {
    std::size_t used = 0;
    if (!parser.read_header(pieces.data(), used)) return {};
    pieces.use(used);
    if (!parser.is_header_done() && !pieces.more()) return {};
  }
  while (!parser.is_done()) {
    std::byte target[64];
    std::size_t used = 0;
    ResponseParser::ErrorCode error;
    const std::size_t count = parser.take(
        pieces.data(), used, std::span(target).first(std::min<std::size_t>(64, pieces.step())), error);
    pieces.use(used);
    if (error) return {};
    body.append(reinterpret_cast<const char*>(target), count);
    if (count > 0 || parser.is_done() || pieces.more()) continue;
    if (!parser.need_eof()) return {};
    parser.put_eof(error);
    require(!error, "the end of the connection ends the body");
  }
  return std::to_string(parser.status()) + "\n" + std::string(parser.fields().text()) + "\n" + body;
}

// The headers of frames, put together again.
std::string frames(std::string_view input) {
  std::string text;
  try {
    for (;;) {
      std::size_t used = 0;
      const FrameHeader header = parse_frame_header(input, used);
      if (used == 0) return text;
      const std::string made = make_frame_header(header);
      require(made == input.substr(0, used), "a header is the one way to say it");
      text += made;
      input.remove_prefix(used);
      input.remove_prefix(static_cast<std::size_t>(std::min<std::uint64_t>(header.length, input.size())));
    }
  } catch (const WebSocketError&) {
    return text;
  }
}

void urls(std::string_view input) {
  try {
    const Url url = Url::parse(input);
    require(Url::parse(url.to_string()).to_string() == url.to_string(), "a URL's text is the URL");
    const Url same = Url::parse("http://base/a/b?c").resolve(input);
    require(same.target().starts_with('/'), "a resolved target is a path");
  } catch (const std::invalid_argument&) {
  }
  if (const auto decoded = percent_decode(input))
    require(percent_decode(percent_encode(*decoded)) == decoded, "encoding is undone");
  if (const auto date = parse_date(input))
    require(parse_date(format_date(*date)) == date, "a date is the date");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  switch (data[0] % 4) {
    case 0: {
      const auto whole = requests(input, 0);
      require(requests(input, 1U + data[1]) == whole, "the same requests however they come");
      break;
    }
    case 1:
      require(response(input, 1U + data[1]) == response(input, 0), "the same response however it comes");
      break;
    case 2:
      (void)frames(input);
      break;
    default:
      urls(input);
  }
  return 0;
}
