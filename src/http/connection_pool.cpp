#include "http/connection_pool.hpp"

#include <poll.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <system_error>

namespace fibrio::http::detail {

namespace {

// Whether the server has closed it, or said something that nobody asked for. What a TLS stream receives while
// it is idle (tickets) is no such thing. By poll, which needs no errno: that of recv, inlined into code that
// waits, was read on another thread than it was set on.
bool is_stale(const ByteStream& stream, bool is_secure) {
  pollfd state{stream.native_handle(), POLLIN | POLLRDHUP, 0};
  if (state.fd < 0 || ::poll(&state, 1, 0) < 0) return true;
  return (state.revents & ~POLLIN) != 0 || (!is_secure && state.revents != 0);
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

ConnectionPool::Lease ConnectionPool::lease(const Url& url, bool may_reuse) {
  const std::string name = url.origin();
  const std::size_t per_host = options_->max_connections_per_host;
  std::shared_ptr<Event> turn;
  for (;;) {
    Closing closing;
    {
      const std::lock_guard lock(mutex_);
      if (is_closed_) throw RuntimeError("http::Session: it is closed");
      expire_locked(closing);
      Origin& origin = origins_[name];
      while (may_reuse && !origin.idle.empty()) {
        std::shared_ptr<ByteStream> stream = std::move(origin.idle.back().stream);
        origin.idle.pop_back();
        if (is_stale(*stream, url.is_secure())) {
          closing.push_back(std::move(stream));
          --origin.count;
          --count_;
          continue;
        }
        Lease lease(shared_from_this(), name);
        lease.stream = std::move(stream);
        lease.is_reused = true;
        return lease;
      }
      while (!origin.idle.empty()) {  // only if it may not be used
        closing.push_back(std::move(origin.idle.back().stream));
        origin.idle.pop_back();
        --origin.count;
        --count_;
      }
      const bool has_place = count_ < options_->max_connections || drop_one_idle_locked(closing);
      Origin& same = origins_[name];  // dropping may have forgotten it
      if (has_place && (per_host == 0 || same.count < per_host)) {
        ++count_;
        ++same.count;
        break;
      }
      if (same.count == 0) origins_.erase(name);
      turn = std::make_shared<Event>();
      waiting_.push_back(turn);
    }
    try {
      turn->wait();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      const auto mine = std::find(waiting_.begin(), waiting_.end(), turn);
      if (mine != waiting_.end()) waiting_.erase(mine);  // else all were woken, so nobody misses this turn
      throw;
    }
  }
  Lease lease(shared_from_this(), name);
  lease.stream = connect(url);
  return lease;
}

std::unique_ptr<ByteStream> ConnectionPool::connect(const Url& url) const {
  const auto open = [&]() -> std::unique_ptr<ByteStream> {
    TcpStream stream = connect_plain(url);
    if (!url.is_secure()) return make_byte_stream(std::move(stream));
    return options_->make_secure(std::move(stream), url);
  };
  if (options_->connect_timeout < Duration::zero()) return open();
  try {
    return timeout(options_->connect_timeout, open);
  } catch (const TimeoutError& error) {
    throw TimeoutError(attempt(url) + ": " + error.what());
  }
}

void ConnectionPool::give_back(const std::string& origin, std::shared_ptr<ByteStream> stream) {
  Closing closing;
  const TimePoint now = stream != nullptr ? get_running_loop().time() : TimePoint();
  const std::lock_guard lock(mutex_);
  Origin& place = origins_[origin];
  if (stream != nullptr && !is_closed_ && options_->keep_alive > Duration::zero()) {
    place.idle.push_back({std::move(stream), now + options_->keep_alive});
  } else {
    if (stream != nullptr) closing.push_back(std::move(stream));
    forget_locked(origin, 1);
  }
  // All are asked: who comes first may wait for another origin.
  for (const std::shared_ptr<Event>& turn : waiting_) turn->set();
  waiting_.clear();
}

void ConnectionPool::forget_locked(const std::string& name, std::size_t count) {
  const auto origin = origins_.find(name);
  origin->second.count -= count;
  count_ -= count;
  if (origin->second.count == 0) origins_.erase(origin);
}

void ConnectionPool::expire_locked(Closing& closing) {
  const TimePoint now = get_running_loop().time();
  for (auto i = origins_.begin(); i != origins_.end();) {
    const auto origin = i++;
    std::deque<Idle>& idle = origin->second.idle;
    std::size_t count = 0;
    while (!idle.empty() && idle.front().until <= now) {
      closing.push_back(std::move(idle.front().stream));
      idle.pop_front();
      ++count;
    }
    if (count > 0) forget_locked(origin->first, count);
  }
}

bool ConnectionPool::drop_one_idle_locked(Closing& closing) {
  for (auto& [name, origin] : origins_) {
    if (origin.idle.empty()) continue;
    closing.push_back(std::move(origin.idle.front().stream));
    origin.idle.pop_front();
    forget_locked(std::string(name), 1);
    return true;
  }
  return false;
}

std::size_t ConnectionPool::idle() const {
  const std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (const auto& [name, origin] : origins_) count += origin.idle.size();
  return count;
}

void ConnectionPool::close() {
  Closing closing;
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  while (drop_one_idle_locked(closing)) {
  }
  for (const std::shared_ptr<Event>& turn : waiting_) turn->set();
  waiting_.clear();
}

}  // namespace fibrio::http::detail
