// libFuzzer: what parses bytes from strangers. The first byte chooses the parser, the second one how the rest
// is split: however it comes, the same requests, responses or frames must come out, with the same bodies.
#include <cstdio>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fibrio/http/cookies.hpp"
#include "fibrio/http/url.hpp"
#include "fibrio/http/websocket.hpp"
#include "http/cookie_text.hpp"
#include "http/request_access.hpp"
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
std::string response(std::string_view input, unsigned seed, bool is_lenient) {
  ResponseParser parser(2048, false, is_lenient);
  Pieces pieces(input, seed);
  std::string body;
  while (!parser.is_header_done()) {
    std::size_t used = 0;
    if (!parser.read_header(pieces.data(), used)) return {};
    pieces.use(used);
    if (!parser.is_header_done() && !pieces.more()) return {};
  }
  {
    // Sent on, a strict reader finds the same fields.
    const std::string sent_on = "HTTP/1.1 200 OK\r\n" + std::string(parser.fields().text()) + "\r\n";
    ResponseParser again(2 * sent_on.size() + 1, false, false);
    std::size_t used = 0;
    require(again.read_header(sent_on, used) && again.is_header_done(), "what was read can be sent on");
    require(again.fields().text() == parser.fields().text(), "what was sent on is what was read");
  }
  while (!parser.is_done()) {
    std::byte target[64];
    std::size_t used = 0;
    const std::size_t count =
        parser.take(pieces.data(), used, std::span(target).first(std::min<std::size_t>(64, pieces.step())));
    pieces.use(used);
    if (parser.failure() != nullptr) return {};
    body.append(reinterpret_cast<const char*>(target), count);
    if (count > 0 || parser.is_done() || pieces.more()) continue;
    if (!parser.need_eof()) return {};
    require(parser.put_eof(), "the end of the connection ends the body");
  }
  return std::to_string(parser.status()) + "\n" + std::string(parser.fields().text()) + "\n" + body;
}

// A frame that came is unmasked, masked anew and sent on, with the other role's header: the same one comes out.
void pass_on(const FrameHeader& header, std::string payload) {
  if (header.mask) apply_mask(payload, *header.mask, 0);
  FrameHeader sent = header;
  sent.mask.reset();
  if (!header.mask) sent.mask = {'\x11', '\x80', '\0', '\xff'};
  std::string bytes = make_frame_header(sent);
  const std::size_t begin = bytes.size();
  bytes += payload;
  if (sent.mask) {  // in pieces
    const std::size_t half = payload.size() / 2;
    apply_mask(std::span(bytes).subspan(begin, half), *sent.mask, 0);
    apply_mask(std::span(bytes).subspan(begin + half), *sent.mask, half);
  }
  std::size_t used = 0;
  const FrameHeader came = parse_frame_header(bytes, used);
  require(used == begin && came.opcode == header.opcode && came.is_final == header.is_final &&
              came.length == header.length && came.mask == sent.mask,
          "a header that is sent on is the same");
  if (came.mask) apply_mask(std::span(bytes).subspan(begin), *came.mask, 0);
  require(bytes.substr(begin) == payload, "a payload that is sent on is the same");
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
      const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(header.length, input.size()));
      if (size == header.length) pass_on(header, std::string(input.substr(0, size)));
      input.remove_prefix(size);
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

// Lines of Set-Cookie, to several places; what the jar then says are cookies that it was given.
void cookies(std::string_view input) {
  CookieJar jar({.max_cookies = 8, .max_cookies_per_domain = 4});
  const Url urls[] = {Url::parse("http://a.b.c/x/y"), Url::parse("https://b.c/"),
                      Url::parse("http://127.0.0.1/x")};
  std::string given;
  for (std::string_view rest = input; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const CookieJar::Time now(std::chrono::seconds(given.size()));
    jar.set(urls[line.size() % 3], line, now);
    given.append(line).append("\n");
    require(jar.size() <= 8, "a jar keeps its limit");
    for (const Url& url : urls) {
      const std::string sent = jar.cookies_for(url, {}, now);
      require(is_field_text(sent), "cookies are the text of a field");
      for (std::string_view cookies = sent; !cookies.empty();) {
        const std::string_view cookie = take_item(cookies, ';');
        require(cookie.find('=') != std::string_view::npos, "a cookie has a name");
        require(given.find(trim(cookie.substr(cookie.find('=') + 1))) != std::string::npos,
                "a value that was given");
      }
    }
  }
  Request request;
  if (is_field_text(input)) detail::RequestAccess::fields(request).add("Cookie", input);
  if (const auto value = request.cookie("a")) require(value->size() <= input.size(), "a value is a part");
  try {
    const std::string text = Cookie{.name = "a", .value = std::string(input), .path = ""}.to_string();
    require(text == "a=" + std::string(input), "a cookie that is allowed is said as it is");
    require(request.cookie("a") == std::nullopt || input.find("a=") != std::string_view::npos, "no other is");
  } catch (const std::invalid_argument&) {
  }
  if (const auto date = parse_cookie_date(input))
    require(parse_cookie_date(format_date(*date)) == date, "a date is the date");
}

void forms(std::string_view input) {
  const Form form = parse_form(input, input.size() + 1);
  require(parse_form(encode_form(form), input.size() + 1) == form, "a form is the form");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  switch (data[0] % 6) {
    case 0: {
      const auto whole = requests(input, 0);
      require(requests(input, 1U + data[1]) == whole, "the same requests however they come");
      break;
    }
    case 1:
      for (const bool is_lenient : {false, true}) {
        const std::string whole = response(input, 0, is_lenient);
        require(response(input, 1U + data[1], is_lenient) == whole, "the same response however it comes");
      }
      break;
    case 2:
      (void)frames(input);
      break;
    case 3:
      urls(input);
      break;
    case 4:
      cookies(input);
      break;
    default:
      forms(input);
  }
  return 0;
}
