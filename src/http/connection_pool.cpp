#include "http/connection_pool.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "http/in_time.hpp"

namespace fibrio::http::detail {

namespace {

// A connection that is used again before this has passed is never watched.
constexpr Duration kWatchAfter = std::chrono::milliseconds(50);

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
[[noreturn]] void fail_to_connect(const Url& url, const std::system_error& error) {
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
    fail_to_connect(url, error);
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
  std::shared_ptr<Watch> watch;        // of the kept one
  Event turn;
};

ConnectionPool::Lease ConnectionPool::lease(const Url& url, bool may_reuse) {
  Lease lease = wait_for_place(url.origin());
  while (lease.stream != nullptr) {
    const bool is_silent = lease.end_watch();
    if (is_silent && may_reuse && is_quiet(*lease.stream)) return lease;
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
      Idle kept = take_idle_locked(origin.idle.back());
      lease.adopt(shared_from_this(), origin);
      lease.adopt_kept(std::move(kept.stream), std::move(kept.watch));
    } else if (take_place_locked(origin, closing)) {
      lease.adopt(shared_from_this(), origin);
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
  Idle kept = take_idle_locked(origin.idle.back());
  lease.adopt_kept(std::move(kept.stream), std::move(kept.watch));
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
      lease.adopt(shared_from_this(), waiter.origin);
      lease.adopt_kept(std::move(waiter.stream), std::move(waiter.watch));
    } else {
      leave_locked(waiter);
    }
    return waiter.has_place;
  };
  try {
    waiter.turn.wait();
  } catch (...) {
    if (take() && lease.stream != nullptr && lease.end_watch()) lease.keep();
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
  Idles idle;
  const Duration delay = std::min<Duration>(kWatchAfter, options_->keep_alive);
  TimePoint due = TimePoint::max();
  if (stream != nullptr) {
    const TimePoint now = get_running_loop().time();
    idle.emplace_back(std::move(stream), now, now + options_->keep_alive, &origin);
    due = now + delay;
  }
  bool arms = false;
  {
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
    arms = !idle_.empty() && due < due_;
    if (arms) due_ = due;
  }
  if (arms) arm(delay, due);
}

// --- what becomes of idle connections ----------------------------------------------------------------------

void ConnectionPool::arm(Duration delay, TimePoint due) {
  try {
    // Nobody's context: the timer goes on for as long as there are idle connections, whoever made them.
    TimerHandle timer = Context().run([&] {
      return get_running_loop().call_later(delay, [pool = weak_from_this()] {
        if (const std::shared_ptr<ConnectionPool> self = pool.lock()) self->on_timer();
      });
    });
    {
      const std::lock_guard lock(mutex_);
      if (!is_closed_ && due_ == due) std::swap(timer_, timer);
    }
    timer.cancel();                  // the one before, or of no use
  } catch (const std::exception&) {  // no memory, or the loop closes: the next call tries again
    const std::lock_guard lock(mutex_);
    due_ = TimePoint::max();
  }
}

void ConnectionPool::on_timer() {
  Idles closing;
  std::vector<std::pair<std::shared_ptr<ByteStream>, std::shared_ptr<Watch>>> starting;
  std::optional<Duration> next;
  TimePoint due;
  {
    const std::lock_guard lock(mutex_);
    due_ = TimePoint::max();
    expire_locked(closing);
    if (idle_.empty() || is_closed_) return;
    const TimePoint now = get_running_loop().time();
    next = idle_.front().until - now;
    for (Idle& idle : idle_) {
      if (idle.watch != nullptr) continue;
      const TimePoint when = idle.since + kWatchAfter;
      if (when > now) {
        next = std::min(*next, when - now);
      } else {
        idle.watch = std::make_shared<Watch>();
        starting.emplace_back(idle.stream, idle.watch);
      }
    }
    due_ = due = now + *next;
  }
  for (auto& [stream, its_watch] : starting) {
    try {
      spawn(TaskOptions{.name = "idle HTTP connection", .context = Context()},
            [pool = weak_from_this(), its_stream = std::move(stream),
             its_watch = std::move(its_watch)]() mutable { watch(pool, std::move(its_stream), its_watch); });
    } catch (const std::exception&) {  // it is looked at when it is used, and closed in time
    }
  }
  arm(*next, due);
}

void ConnectionPool::watch(const std::weak_ptr<ConnectionPool>& pool, std::shared_ptr<ByteStream> stream,
                           const std::shared_ptr<Watch>& watch) {
  if (const std::shared_ptr<ConnectionPool> self = pool.lock()) {
    const std::lock_guard lock(self->mutex_);
    if (watch->is_taken) return;
    watch->task = current_task();
  } else {
    return;
  }
  std::byte unasked;
  try {
    static_cast<void>(stream->read_some({&unasked, 1}));
    watch->has_heard = true;
  } catch (const std::exception&) {
    watch->has_heard = true;
  } catch (const CancelledError&) {  // it is taken; or the loop ends, and with it the connection
  }
  if (const std::shared_ptr<ConnectionPool> self = pool.lock()) self->remove(watch);
}

// Closes the connection, unless somebody has taken it.
void ConnectionPool::remove(const std::shared_ptr<Watch>& watch) {
  Idles closing;
  const std::lock_guard lock(mutex_);
  if (watch->is_taken) return;
  const auto is_its = [&](const Idle& idle) { return idle.watch == watch; };
  const auto idle = std::find_if(idle_.begin(), idle_.end(), is_its);
  if (idle == idle_.end()) return;
  idle->watch.reset();  // its task ends by itself
  Origin& origin = *idle->origin;
  close_idle_locked(idle, closing);
  choose_next_locked(origin);
  forget_if_unused_locked(origin);
  serve_waiting_locked(closing);
}

bool ConnectionPool::Lease::end_watch() noexcept {
  const std::shared_ptr<Watch> watch = std::exchange(watch_, nullptr);
  if (watch == nullptr || !watch->task) return true;
  const CancelMask mask;
  watch->task->cancel();
  watch->task->wait();
  return !watch->has_heard;
}

ConnectionPool::Idle::~Idle() {
  if (watch != nullptr && watch->task) watch->task->cancel();
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
ConnectionPool::Idle ConnectionPool::take_idle_locked(Idles::iterator idle) {
  std::erase(idle->origin->idle, idle);
  if (idle->watch != nullptr) idle->watch->is_taken = true;
  Idle taken = std::move(*idle);
  idle_.erase(idle);
  return taken;
}

void ConnectionPool::close_idle_locked(Idles::iterator idle, Idles& closing) {
  Origin& origin = *idle->origin;
  std::erase(origin.idle, idle);
  if (idle->watch != nullptr) idle->watch->is_taken = true;
  closing.splice(closing.end(), idle_, idle);
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
      Idle kept = take_idle_locked(origin.idle.back());
      waiter.stream = std::move(kept.stream);
      waiter.watch = std::move(kept.watch);
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
  TimerHandle timer;
  std::vector<AnyTask> watching;
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    std::swap(timer_, timer);
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
  timer.cancel();
  for (const Idle& idle : closing) {
    if (idle.watch != nullptr && idle.watch->task) watching.push_back(*idle.watch->task);
  }
  closing.clear();
  if (!is_in_task()) return;
  const CancelMask mask;
  for (const AnyTask& task : watching) task.wait();
}

}  // namespace fibrio::http::detail
