// What: StreamReader, and the reading half of StreamCore. See stream_core.hpp.

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "fibrio/detail/budget.hpp"
#include "fibrio/errors.hpp"
#include "net/stream_core.hpp"

namespace fibrio {

namespace detail {

StreamCore::StreamCore(std::unique_ptr<ByteStream> stream, std::size_t limit)
    : stream_(std::move(stream)), limit_(limit) {
  if (limit == 0) throw std::invalid_argument("the limit of a StreamReader must be at least 1");
}

StreamCore::ReadTurn::ReadTurn(StreamCore& core, const char* call) : core_(core) {
  if (core.is_reading_.exchange(true, std::memory_order_acquire)) {
    throw RuntimeError(std::string(call) + " while another task is reading from the same stream");
  }
  try {
    if (!core.buffer_.empty()) spend_turn();  // what is buffered is read without a wait
    core.take_news();
  } catch (...) {
    core.is_reading_.store(false, std::memory_order_release);
    throw;
  }
}

StreamCore::ReadTurn::~ReadTurn() { core_.is_reading_.store(false, std::memory_order_release); }

// True if something came, the end included. Throws the reader's error.
bool StreamCore::take_news() {
  if (!has_news_.load(std::memory_order_acquire)) return false;
  const std::lock_guard guard(lock_);
  buffer_.append(news_.data);
  news_.data = {};
  eof_ = eof_ || news_.eof;
  if (news_.error != nullptr) std::rethrow_exception(news_.error);
  has_news_.store(false, std::memory_order_relaxed);
  return true;
}

bool StreamCore::fill() {
  const std::size_t before = buffer_.size();
  while (buffer_.size() == before) {
    if (eof_) return false;
    if (stream_ != nullptr) {
      buffer_.added(read_directly(buffer_.room()));
      take_news();
      continue;
    }
    news_came_.clear();
    if (take_news()) continue;
    news_came_.wait();
    take_news();
  }
  return true;
}

std::size_t StreamCore::read_directly(std::span<std::byte> room) {
  std::size_t count = 0;
  try {
    count = stream_->read_some(room);
  } catch (const CancelledError&) {
    throw;
  } catch (const KeyboardInterrupt&) {
    throw;
  } catch (const RuntimeError&) {  // of who calls, not of the connection
    throw;
  } catch (...) {
    if (const std::exception_ptr error = read_failed()) std::rethrow_exception(error);
    return 0;
  }
  if (count == 0) eof_ = true;
  return count;
}

// A read of the stream threw. Null: because we closed it, which is the end of the stream.
std::exception_ptr StreamCore::read_failed() {
  lose(std::current_exception(), false);  // nothing to do if it is lost already
  eof_ = true;
  const std::lock_guard guard(lock_);
  return news_.error;
}

std::size_t StreamCore::read_some(std::span<std::byte> bytes) {
  if (bytes.empty()) return 0;
  if (buffer_.empty() && !eof_ && stream_ != nullptr) return read_directly(bytes);
  if (buffer_.empty()) static_cast<void>(fill());
  const std::string_view data = buffer_.view().substr(0, bytes.size());
  std::copy_n(reinterpret_cast<const std::byte*>(data.data()), data.size(), bytes.begin());
  buffer_.skip(data.size());
  return data.size();
}

StreamCore::Match StreamCore::search(std::span<const std::string_view> separators) {
  using Kind = Match::Kind;
  const auto by_size = [](std::string_view a, std::string_view b) { return a.size() < b.size(); };
  const auto [shortest, longest] = std::minmax_element(separators.begin(), separators.end(), by_size);
  std::size_t offset = 0;
  for (;;) {
    const std::string_view data = buffer_.view();
    if (data.size() >= offset + shortest->size()) {
      Match match{Kind::kNotFound, 0, std::string_view::npos};
      for (const std::string_view separator : separators) {
        const std::size_t start = data.substr(0, match.end).find(separator, offset);
        if (start == std::string_view::npos) continue;
        const std::size_t end = start + separator.size();
        // Of two that end at the same place the shorter one counts: less comes before the longer one.
        if (end < match.end || start > match.start) match = {Kind::kFound, start, end};
      }
      if (match.kind == Kind::kFound) {
        if (match.start > limit_) match.kind = Kind::kFoundTooLate;
        return match;
      }
      // The longest separator may have begun.
      offset = data.size() + 1 - std::min(longest->size(), data.size() + 1);
      if (offset > limit_) return {Kind::kNotFound, offset, offset};
    }
    if (!fill()) return {Kind::kEnd, 0, 0};
  }
}

bool StreamCore::at_eof() const {
  const std::lock_guard guard(lock_);
  return (eof_ || news_.eof) && buffer_.empty() && news_.data.empty();
}

std::size_t StreamCore::buffered() const {
  const std::lock_guard guard(lock_);
  return buffer_.size() + news_.data.size();
}

std::exception_ptr StreamCore::read_error() const {
  const std::lock_guard guard(lock_);
  return news_.error;
}

void StreamCore::set_read_error(std::exception_ptr error) {
  {
    const std::lock_guard guard(lock_);
    news_.error = std::move(error);
    has_news_.store(true, std::memory_order_release);
  }
  news_came_.set();
}

void StreamCore::feed(std::string_view data) {
  {
    const std::lock_guard guard(lock_);
    if (news_.eof) throw RuntimeError("feed_data after feed_eof");
    if (data.empty()) return;
    news_.data += data;
    has_news_.store(true, std::memory_order_release);
  }
  news_came_.set();
}

void StreamCore::feed_eof() {
  {
    const std::lock_guard guard(lock_);
    news_.eof = true;
    has_news_.store(true, std::memory_order_release);
  }
  news_came_.set();
}

}  // namespace detail

using detail::StreamCore;
using Turn = StreamCore::ReadTurn;
using MatchKind = StreamCore::Match::Kind;

StreamReader::StreamReader(std::size_t limit) : StreamReader(nullptr, limit) {}
StreamReader::StreamReader(std::unique_ptr<ByteStream> stream, std::size_t limit)
    : core_(std::make_shared<StreamCore>(std::move(stream), limit)) {}
StreamReader::StreamReader(std::shared_ptr<StreamCore> core) noexcept : core_(std::move(core)) {}
StreamReader::StreamReader(StreamReader&&) noexcept = default;
StreamReader& StreamReader::operator=(StreamReader&&) noexcept = default;
StreamReader::~StreamReader() = default;

std::string StreamReader::read(std::ptrdiff_t n) {
  const Turn turn(*core_, "read");
  if (n == 0) return {};
  detail::ReadBuffer& buffer = core_->buffer();
  if (n > 0) {
    if (buffer.empty()) static_cast<void>(core_->fill());
    return buffer.take(static_cast<std::size_t>(n));
  }
  while (core_->fill()) {
  }
  return buffer.take(buffer.size());
}

std::size_t StreamReader::read_some(std::span<std::byte> bytes) {
  const Turn turn(*core_, "read_some");
  return core_->read_some(bytes);
}

std::string StreamReader::readexactly(std::size_t n) {
  if (n > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    throw std::invalid_argument("readexactly: the number of bytes is negative");
  }
  const Turn turn(*core_, "readexactly");
  detail::ReadBuffer& buffer = core_->buffer();
  while (buffer.size() < n) {
    if (!core_->fill()) throw IncompleteReadError(buffer.take(buffer.size()), n);
  }
  return buffer.take(n);
}

std::string StreamReader::readline() {
  const Turn turn(*core_, "readline");
  detail::ReadBuffer& buffer = core_->buffer();
  constexpr std::string_view kNewline[] = {"\n"};
  const StreamCore::Match match = core_->search(kNewline);
  switch (match.kind) {
    case MatchKind::kFound:
      return buffer.take(match.end);
    case MatchKind::kEnd:
      return buffer.take(buffer.size());
    case MatchKind::kFoundTooLate:
      buffer.skip(match.end);
      break;
    case MatchKind::kNotFound:
      buffer.skip(buffer.size());
      break;
  }
  throw std::invalid_argument("readline: the line is longer than the limit of " +
                              std::to_string(core_->limit()) + " bytes, and was dropped");
}

std::string StreamReader::readuntil(std::string_view separator) {
  return readuntil(std::span<const std::string_view>(&separator, 1));
}
std::string StreamReader::readuntil(std::initializer_list<std::string_view> separators) {
  return readuntil(std::span<const std::string_view>(separators.begin(), separators.size()));
}
std::string StreamReader::readuntil(std::span<const std::string_view> separators) {
  if (separators.empty()) throw std::invalid_argument("readuntil: there must be at least one separator");
  for (const std::string_view separator : separators) {
    if (separator.empty()) throw std::invalid_argument("readuntil: a separator must have at least one byte");
  }
  const Turn turn(*core_, "readuntil");
  detail::ReadBuffer& buffer = core_->buffer();
  const StreamCore::Match match = core_->search(separators);
  switch (match.kind) {
    case MatchKind::kFound:
      return buffer.take(match.end);
    case MatchKind::kEnd:
      throw IncompleteReadError(buffer.take(buffer.size()), std::nullopt);
    case MatchKind::kFoundTooLate:
      throw LimitOverrunError("the separator was found, but what comes before it is longer than the limit",
                              match.start);
    case MatchKind::kNotFound:
      break;
  }
  throw LimitOverrunError("the separator was not found, and more than the limit has come", match.start);
}

bool StreamReader::at_eof() const { return core_->at_eof(); }
std::size_t StreamReader::buffered() const { return core_->buffered(); }
std::size_t StreamReader::limit() const noexcept { return core_->limit(); }
std::exception_ptr StreamReader::exception() const { return core_->read_error(); }
void StreamReader::set_exception(std::exception_ptr exception) {
  if (exception == nullptr) throw std::invalid_argument("StreamReader::set_exception: the exception is null");
  // Who waits for this may destroy the reader before the call is over: so here and below.
  const std::shared_ptr<StreamCore> core = core_;
  core->set_read_error(std::move(exception));
}
void StreamReader::feed_data(std::string_view data) {
  const std::shared_ptr<StreamCore> core = core_;
  core->feed(data);
}
void StreamReader::feed_eof() {
  const std::shared_ptr<StreamCore> core = core_;
  core->feed_eof();
}

}  // namespace fibrio
