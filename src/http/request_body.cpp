#include "http/request_body.hpp"

#include <algorithm>
#include <system_error>

namespace fibrio::http {

namespace {

using Phase = ConnectionTable::Phase;
using Progress = RequestParser::Progress;

// A body that its handler did not read is read for it up to this length; beyond, closing is cheaper.
constexpr std::uint64_t kMaxDropped = 64 * 1024;
// Plain bodies go straight to a buffer of this size.
constexpr std::size_t kDirectRead = 4096;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace

std::size_t RequestBody::read_body(std::span<std::byte> buffer) {
  if (buffer.empty()) return 0;
  for (;;) {
    if (const std::size_t count = take(buffer); count > 0 || parser_.is_done()) return count;
    if (input_.is_full()) fail(431);  // a chunk header or a trailer that never ends
    const std::uint64_t rest = parser_.plain_rest();
    if (rest > 0 && input_.empty() && buffer.size() >= kDirectRead) {
      const auto place = buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(rest, buffer.size())));
      const std::size_t received = receive(place);
      return parse({reinterpret_cast<const char*>(place.data()), received}, place).second;
    }
    input_.received(receive(input_.space()));
  }
}

std::size_t RequestBody::take(std::span<std::byte> target) {
  if (parser_.is_done()) return 0;
  const auto [used, count] = parse(input_.data(), target);
  input_.consume(used);
  return count;
}

// Returns how many bytes of input are used, and how many of the body there were.
std::pair<std::size_t, std::size_t> RequestBody::parse(std::span<const char> input,
                                                       std::span<std::byte> target) {
  if (is_bad_) fail(parser_.failure_status());  // the handler has caught what was said before
  std::size_t used = 0;
  std::size_t count = 0;
  if (parser_.read_body(input, used, target, count) == Progress::kFailed) fail(parser_.failure_status());
  return {used, count};
}

void RequestBody::ask_for_it() {
  // Never within an answer, and never behind one that the client takes for the last word.
  if (parser_.take_expects_continue() && input_.empty() && sender_.is_between()) sender_.put(kContinue);
}

// Waits for bytes. Returns how many came.
std::size_t RequestBody::receive(std::span<std::byte> space) {
  ask_for_it();
  sender_.flush();  // what the client waits for before it sends more
  if (deadline_ == 0) {
    deadline_ = entry_.enter(Phase::kBody);
  } else {
    entry_.resume(deadline_);
  }
  std::size_t count = 0;
  try {
    count = read_stream(space);
  } catch (...) {
    entry_.enter(Phase::kBusy);  // a handler that has given up may work on as long as it likes
    throw;
  }
  entry_.enter(Phase::kBusy);
  if (count > 0) return count;
  if (entry_.is_stopped()) fail(408);
  is_peer_gone_ = true;
  throw std::system_error(std::make_error_code(std::errc::connection_aborted),
                          "the client left within a body");
}

std::size_t RequestBody::read_stream(std::span<std::byte> space) {
  try {
    return stream_.read_some(space);
  } catch (const std::system_error&) {
    if (entry_.is_stopped()) return 0;
    is_peer_gone_ = true;
    throw;
  }
}

void RequestBody::fail(unsigned status) {
  is_bad_ = true;
  throw HttpError(status);
}

bool RequestBody::drop(bool may_wait) {
  std::uint64_t dropped = 0;
  try {
    while (!parser_.is_done() && !is_bad_) {
      dropped += take({});
      if (parser_.is_done()) break;
      if (dropped + parser_.plain_rest() > kMaxDropped || parser_.expects_continue() || input_.is_full())
        return false;
      if (!may_wait) return true;
      input_.received(receive(input_.space()));
    }
  } catch (const HttpError&) {
  }
  return !is_bad_;
}

}  // namespace fibrio::http
