#include "http/connection_table.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "http/acknowledged.hpp"

namespace fibrio::http {

namespace {

using namespace std::chrono_literals;

constexpr Duration kLingerTimeout = 1s;

// A sixteenth of the shortest timeout; at most half a second, because it is also the clock of the Date field.
Duration choose_tick(const ServerOptions& options) {
  const Duration shortest =
      std::min({options.header_timeout, options.body_timeout, options.idle_timeout, options.write_timeout});
  return std::clamp<Duration>(shortest / 16, 5ms, 500ms);
}

std::int64_t now_in_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

ConnectionTable::ConnectionTable(const ServerOptions& options)
    : max_connections_(options.max_connections),
      max_per_peer_(options.max_connections_per_peer),
      tick_(choose_tick(options)),
      unix_time_(now_in_seconds()) {
  for (std::size_t i = 0; i < kPhases; ++i) {
    const Duration limit = limit_of(static_cast<Phase>(i), options);
    // One tick more, because the current one has begun already.
    limits_[i] = limit >= Duration::max() / 2 ? std::numeric_limits<std::uint64_t>::max() / kPhases / 2
                                              : static_cast<std::uint64_t>((limit + tick_ - 1ns) / tick_) + 1;
  }
}

Duration ConnectionTable::limit_of(Phase phase, const ServerOptions& options) {
  switch (phase) {
    case Phase::kFresh:
    case Phase::kHeader:
      return options.header_timeout;
    case Phase::kIdle:
      return options.idle_timeout;
    case Phase::kBody:
      return options.body_timeout;
    case Phase::kWriting:
      return options.write_timeout;
    case Phase::kLinger:
      return kLingerTimeout;
    case Phase::kBusy:
      break;
  }
  return Duration::max();
}

// Delegates, so that the destructor gives back what was taken if the rest throws.
ConnectionTable::Place::Place(ConnectionTable& table, const TcpStream& stream) : Place() {
  std::string peer;  // empty: it is not counted, as that of a Unix socket, which has no IP address
  if (table.max_per_peer_ > 0) peer = stream.peer_address().host();  // throws if the peer has gone already
  const std::size_t before = table.count_.fetch_add(1, std::memory_order_relaxed);
  table_ = &table;
  bool is_free = before < table.max_connections_;
  if (is_free && !peer.empty()) {
    const std::lock_guard lock(table.peers_mutex_);
    std::size_t& count = table.peers_[peer];
    is_free = count < table.max_per_peer_;
    if (is_free) {
      ++count;
      peer_ = std::move(peer);
    }
  }
  if (is_free) return;
  table.count_.fetch_sub(1, std::memory_order_relaxed);
  table_ = nullptr;
}

ConnectionTable::Place::~Place() {
  if (table_ == nullptr) return;
  table_->count_.fetch_sub(1, std::memory_order_relaxed);
  if (peer_.empty()) return;
  const std::lock_guard lock(table_->peers_mutex_);
  const auto peer = table_->peers_.find(peer_);
  if (--peer->second == 0) table_->peers_.erase(peer);
}

template <class F>
void ConnectionTable::for_each(F&& function) {
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    for (Entry* entry : shard.entries) function(*entry);
  }
}

void ConnectionTable::sweep() {
  const std::uint64_t now = ticks_.load(std::memory_order_relaxed) + 1;
  ticks_.store(now, std::memory_order_relaxed);
  unix_time_.store(now_in_seconds(), std::memory_order_relaxed);
  for_each([now](Entry& entry) {
    const std::uint64_t word = entry.word_.load(std::memory_order_relaxed);
    const auto phase = static_cast<Phase>(word % kPhases);
    if (phase == Phase::kWriting && entry.extend_if_moving(word)) return;
    if (word / kPhases <= now) entry.stop(phase);
  });
}

void ConnectionTable::stop_idle() {
  for_each([](Entry& entry) {
    const Phase phase = entry.phase();
    if (phase == Phase::kIdle || phase == Phase::kFresh) entry.stop(phase);
  });
}

void ConnectionTable::cancel_all() {
  std::vector<AnyTask> tasks;
  for_each([&tasks](Entry& entry) { tasks.push_back(entry.task_); });
  for (AnyTask& task : tasks) task.cancel("the server stops");
}

std::uint64_t ConnectionTable::requests() {
  std::uint64_t sum = gone_requests_.load(std::memory_order_relaxed);
  for_each([&sum](const Entry& entry) { sum += entry.requests(); });
  return sum;
}

ConnectionTable::Entry::Entry(ConnectionTable& table)
    : table_(table),
      shard_(table.shards_[table.next_shard_.fetch_add(1, std::memory_order_relaxed) % kShards]),
      task_(current_task()),
      word_(table.word_for(Phase::kFresh)) {
  const std::lock_guard lock(shard_.mutex);
  index_ = shard_.entries.size();
  shard_.entries.push_back(this);
}

ConnectionTable::Entry::~Entry() {
  table_.gone_requests_.fetch_add(requests(), std::memory_order_relaxed);
  const std::lock_guard lock(shard_.mutex);
  shard_.entries[index_] = shard_.entries.back();
  shard_.entries[index_]->index_ = index_;
  shard_.entries.pop_back();
}

// Starts the deadline of `word` anew if the peer has taken something since the last tick, or nobody has
// looked.
bool ConnectionTable::Entry::extend_if_moving(std::uint64_t word) {
  if (word != std::exchange(watched_word_, word)) {  // most answers are gone at the next tick
    acknowledged_ = kUnknown;
    return false;
  }
  const int socket = socket_.load(std::memory_order_relaxed);
  if (socket < 0) return false;
  const std::uint64_t acknowledged = acknowledged_bytes(socket);
  if (acknowledged == std::exchange(acknowledged_, acknowledged)) return false;
  const std::uint64_t later = table_.word_for(Phase::kWriting);
  if (word_.compare_exchange_strong(word, later, std::memory_order_relaxed)) watched_word_ = later;
  return true;
}

// The mutex of the shard is held: the connection cannot leave, so the fd is still its own.
void ConnectionTable::Entry::stop(Phase phase) {
  const int socket = socket_.load(std::memory_order_relaxed);
  if (socket < 0) return;
  // Relaxed: the system call orders it before the read that returns 0.
  stopped_.store(true, std::memory_order_relaxed);
  ::shutdown(socket, phase == Phase::kWriting ? SHUT_RDWR : SHUT_RD);
}

}  // namespace fibrio::http
