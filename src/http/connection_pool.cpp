#include "http/connection_pool.hpp"

#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

#include "http/in_time.hpp"

namespace fibrio::http::detail {

namespace {

// Whether nothing has come that no request asked for, through every layer: not in the socket, not in what TLS has
// decrypted, not as a part of something. What TLS has for itself (tickets) is no such thing. May wait.
bool is_quiet(ByteStream& stream) {
  std::byte unasked;
  try {
    return stream.is_open() && !stream.try_read_some({&unasked, 1}) && !stream.has_buffered_input();
  } catch (const std::exception&) {
    return false;  // the server is gone
  }
}

std::string attempt(const Url& url) {
  const bool is_literal = url.host().find(':') != std::string::npos;
  return "connecting to " + (is_literal ? '[' + url.host() + ']' : url.host()) + ':' +
         std::to_string(url.port());
}

// The same error; its text names host and port also where none but the call knew itself ("socket").
[[noreturn]] void fail(const Url& url, const std::system_error& error) {
  std::string text = error.what();
  if (const std::string end = ": " + error.code().message(); text.ends_with(end)) {
    text.resize(text.size() - end.size());
  }
  throw std::system_error(error.code(), "http: " + attempt(url) + ": " + text);
}

TcpStream connect_plain(const Url& url) {
  try {
    return TcpStream::connect(url.host(), url.port());
  } catch (const std::system_error& error) {
    fail(url, error);
  }
}

}  // namespace

// On the stack of lease(). What it is given, and its turn, are set with the pool's mutex held.
struct ConnectionPool::Waiter {
  Waiter(std::uint64_t its_number, Origin& its_origin) : number(its_number), origin(its_origin) {}

  const std::uint64_t number;
  Origin& origin;  // gone once the pool is closed
  bool has_place = false;
  std::shared_ptr<ByteStream> stream;  // a kept one; none: there is just the place
  Event turn;
};

ConnectionPool::Lease ConnectionPool::lease(const Url& url, bool may_reuse) {
  Lease lease = wait_for_place(url.origin());
  while (lease.stream != nullptr) {
    if (may_reuse && is_quiet(*lease.stream)) return lease;
    replace_by_idle(lease);
  }
  lease.stream = connect(url);
  return lease;
}

ConnectionPool::Lease ConnectionPool::wait_for_place(const std::string& name) {
  Lease lease;
  std::optional<Waiter> waiter;
  {
    Idles closing;
    const std::lock_guard lock(mutex_);
    if (is_closed_) throw RuntimeError("http::Session: it is closed");
    expire_locked(closing);
    Origin& origin = origin_locked(name);
    if (!origin.idle.empty()) {
      lease.adopt(shared_from_this(), origin, take_idle_locked(origin.idle.back(), closing));
    } else if (take_place_locked(origin, closing)) {
      lease.adopt(shared_from_this(), origin, nullptr);
    } else {
      waiter.emplace(next_number_++, origin);
      origin.waiting.emplace(waiter->number, &*waiter);
      choose_next_locked(origin);
    }
  }
  if (waiter) wait_for_turn(*waiter, lease);
  return lease;
}

// The stream of the lease is of no use: it takes another kept one, whose place it gives up, or has none.
void ConnectionPool::replace_by_idle(Lease& lease) {
  Idles closing;
  const std::shared_ptr<ByteStream> useless =
      std::exchange(lease.stream, nullptr);  // closed without the lock
  lease.is_reused = false;
  const std::lock_guard lock(mutex_);
  Origin& origin = *lease.origin_;
  if (origin.idle.empty()) return;
  lease.stream = take_idle_locked(origin.idle.back(), closing);
  lease.is_reused = true;
  --origin.count;
  --count_;
  choose_next_locked(origin);
  serve_waiting_locked(closing);
}

// Cancelled, it passes on what it was given meanwhile.
void ConnectionPool::wait_for_turn(Waiter& waiter, Lease& lease) {
  const auto take = [&] {
    const std::lock_guard lock(mutex_);  // also: who sets `turn` has done so
    if (waiter.has_place) {
      lease.adopt(shared_from_this(), waiter.origin, std::move(waiter.stream));
    } else {
      leave_locked(waiter);
    }
    return waiter.has_place;
  };
  try {
    waiter.turn.wait();
  } catch (...) {
    if (take() && lease.stream != nullptr) lease.keep();
    throw;
  }
  if (!take()) throw RuntimeError("http::Session: it is closed");
}

std::unique_ptr<ByteStream> ConnectionPool::connect(const Url& url) const {
  const auto open = [&]() -> std::unique_ptr<ByteStream> {
    TcpStream stream = connect_plain(url);
    if (!url.is_secure()) return make_byte_stream(std::move(stream));
    return options_->make_secure(std::move(stream), url);
  };
  if (options_->connect_timeout < Duration::zero()) return open();
  try {
    return in_time("connect_timeout", options_->connect_timeout, open);
  } catch (const TimeoutError& error) {
    throw TimeoutError(attempt(url) + ": " + error.what());
  }
}

void ConnectionPool::give_back(Origin& origin, std::shared_ptr<ByteStream> stream) {
  Idles closing;
  const TimePoint now = stream != nullptr ? get_running_loop().time() : TimePoint();
  Idles idle;
  if (stream != nullptr) idle.push_back({std::move(stream), now + options_->keep_alive, &origin});
  const std::lock_guard lock(mutex_);
  if (!idle.empty() && !is_closed_ && options_->keep_alive > Duration::zero()) {
    origin.idle.push_back(idle.begin());
    idle_.splice(idle_.end(), idle);
  } else {
    --origin.count;
    --count_;
  }
  choose_next_locked(origin);
  forget_if_unused_locked(origin);
  serve_waiting_locked(closing);
}

ConnectionPool::Origin& ConnectionPool::origin_locked(const std::string& name) {
  const auto entry = origins_.try_emplace(name).first;
  entry->second.name = &entry->first;
  return entry->second;
}

void ConnectionPool::forget_if_unused_locked(Origin& origin) {
  if (origin.count == 0 && origin.waiting.empty() && !origin.is_next) {
    origins_.erase(origins_.find(*origin.name));
  }
}

// Its place goes to the caller.
std::shared_ptr<ByteStream> ConnectionPool::take_idle_locked(Idles::iterator idle, Idles& closing) {
  std::deque<Idles::iterator>& same = idle->origin->idle;
  idle == same.front() ? same.pop_front() : same.pop_back();
  closing.splice(closing.end(), idle_, idle);
  return idle->stream;
}

void ConnectionPool::close_idle_locked(Idles::iterator idle, Idles& closing) {
  Origin& origin = *idle->origin;
  take_idle_locked(idle, closing);
  --origin.count;
  --count_;
}

void ConnectionPool::expire_locked(Idles& closing) {
  if (idle_.empty()) return;
  const TimePoint now = get_running_loop().time();
  while (!idle_.empty() && idle_.front().until <= now) {
    Origin& origin = *idle_.front().origin;
    close_idle_locked(idle_.begin(), closing);
    forget_if_unused_locked(origin);
  }
}

bool ConnectionPool::is_full_locked(const Origin& origin) const {
  const std::size_t limit = options_->max_connections_per_host;
  return limit != 0 && origin.count >= limit;
}

bool ConnectionPool::take_place_locked(Origin& origin, Idles& closing) {
  if (is_full_locked(origin)) return false;
  if (count_ >= options_->max_connections) {
    if (idle_.empty()) return false;
    Origin& other = *idle_.front().origin;
    close_idle_locked(idle_.begin(), closing);
    if (&other != &origin) forget_if_unused_locked(other);
  }
  ++origin.count;
  ++count_;
  return true;
}

void ConnectionPool::choose_next_locked(Origin& origin) {
  if (origin.is_next || origin.waiting.empty() || (is_full_locked(origin) && origin.idle.empty())) return;
  next_.insert(origin.waiting.extract(origin.waiting.begin()));
  origin.is_next = true;
}

void ConnectionPool::serve_waiting_locked(Idles& closing) {
  while (!next_.empty()) {
    Waiter& waiter = *next_.begin()->second;
    Origin& origin = waiter.origin;
    if (!origin.idle.empty()) {
      waiter.stream = take_idle_locked(origin.idle.back(), closing);
    } else if (!take_place_locked(origin, closing)) {
      return;
    }
    waiter.has_place = true;
    waiter.turn.set();
    next_.erase(next_.begin());
    origin.is_next = false;
    choose_next_locked(origin);
  }
}

void ConnectionPool::leave_locked(const Waiter& waiter) {
  if (is_closed_) return;
  Origin& origin = waiter.origin;
  if (next_.erase(waiter.number) == 1) {
    origin.is_next = false;
    choose_next_locked(origin);
  } else {
    origin.waiting.erase(waiter.number);
  }
  forget_if_unused_locked(origin);
}

std::size_t ConnectionPool::idle() const {
  const std::lock_guard lock(mutex_);
  return idle_.size();
}

void ConnectionPool::close() {
  Idles closing;
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  while (!idle_.empty()) close_idle_locked(idle_.begin(), closing);
  for (const auto& [number, waiter] : next_) waiter->turn.set();
  next_.clear();
  for (auto entry = origins_.begin(); entry != origins_.end();) {
    Origin& origin = (entry++)->second;
    for (const auto& [number, waiter] : origin.waiting) waiter->turn.set();
    origin.waiting.clear();
    origin.is_next = false;
    forget_if_unused_locked(origin);
  }
}

}  // namespace fibrio::http::detail
