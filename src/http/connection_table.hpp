// What: who is connected, and until when.
// Threads: any; an Entry's enter() is its connection's alone.
// Protocol: a word per connection, deadline and phase, which its task writes and the sweeper reads; both
//   relaxed, because a look at the old one is a tick late and no more. The sweeper only moves the deadline of
//   an answer that is being taken, by a compare-exchange, which gives way to the task. Under a shard's lock a
//   connection cannot leave it.
//
// Every connection has one deadline at a time: for a header, for a body, for the next request, for the peer
// to take an answer. Instead of a timer per read, the table keeps a coarse clock and one task sweeps over all
// connections at each tick: entering a phase is then two plain loads and a store, no system call, no
// allocation, no clock read. A deadline is late by up to two ticks and never early.
//
// When it has passed, the sweeper shuts the socket's *reading* side down. A waiting read then returns 0, and
// every later one gets what the kernel has already received, without waiting; writing still works. So the
// connection's own task finds out in its own time and can answer 408: nobody interrupts it, and no request
// that has arrived is lost. Only a peer that does not take its answer is cut off in both directions: one that
// has acknowledged nothing of it for that long, whatever our call has handed over meanwhile. A full socket
// takes more only when a good part of it is free, which can be a megabyte, and minutes, later.
//
// Rejected: EventLoop::call_later per connection, re-armed lazily (a clock read per phase, an allocation per
// arming, a lifetime to share); Task::cancel as the signal (it may come a moment late, and hit the next
// request's handler).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/server.hpp"

namespace fibrio::http {

class ConnectionTable {
 public:
  enum class Phase : std::uint8_t {
    kBusy,     // a handler runs: no deadline
    kFresh,    // accepted, nothing received yet
    kIdle,     // between requests
    kHeader,   // part of a header is there
    kBody,     // part of a body is there
    kWriting,  // an answer is being sent
    kLinger,   // answered and half closed; the peer may read that before we go
  };
  class Entry;
  // One of the places that max_connections and max_connections_per_peer allow, given back by the destructor.
  // False if there was none.
  class Place {
   public:
    // Throws: std::system_error if the peer has gone, std::bad_alloc.
    Place(ConnectionTable& table, const TcpStream& stream);
    Place(Place&& other) noexcept
        : table_(std::exchange(other.table_, nullptr)), peer_(std::move(other.peer_)) {}
    ~Place();
    explicit operator bool() const { return table_ != nullptr; }

   private:
    Place() = default;

    ConnectionTable* table_ = nullptr;
    std::string peer_;  // empty if they are not counted
  };

  explicit ConnectionTable(const ServerOptions& options);

  // How long a connection may be in a phase.
  [[nodiscard]] static Duration limit_of(Phase phase, const ServerOptions& options);

  // Connections that are being served, or about to be.
  [[nodiscard]] std::size_t count() const { return count_.load(std::memory_order_relaxed); }

  // For the sweeper: one tick passes, and whoever is late is stopped.
  void sweep();
  [[nodiscard]] Duration tick() const { return tick_; }
  // Stops connections that wait for a request: they answer what has arrived, and end.
  void stop_idle();
  // Cancels the tasks of all connections.
  void cancel_all();

  // Requests answered by connections that are gone, and by those that are here.
  [[nodiscard]] std::uint64_t requests();

  // Seconds since 1970, as of the last tick: for the Date field.
  [[nodiscard]] std::int64_t unix_time() const { return unix_time_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kShards = 32;
  static constexpr std::uint64_t kPhases = 8;  // a word is deadline * kPhases + phase

  // Connections are spread over shards, so that workers seldom meet at a mutex. It is never held over a wait.
  struct alignas(64) Shard {
    std::mutex mutex;
    std::vector<Entry*> entries;
  };

  [[nodiscard]] std::uint64_t word_for(Phase phase) const {
    return (ticks_.load(std::memory_order_relaxed) + limits_[static_cast<std::size_t>(phase)]) * kPhases +
           static_cast<std::uint64_t>(phase);
  }
  template <class F>
  void for_each(F&& function);

  const std::size_t max_connections_;
  const std::size_t max_per_peer_;
  const Duration tick_;
  std::uint64_t limits_[kPhases];  // in ticks, for each phase
  Shard shards_[kShards];
  std::atomic<std::size_t> next_shard_{0};
  std::atomic<std::size_t> count_{0};
  std::mutex peers_mutex_;
  std::unordered_map<std::string, std::size_t> peers_;
  std::atomic<std::uint64_t> gone_requests_{0};
  std::atomic<std::uint64_t> ticks_{0};  // written by the sweeper alone
  std::atomic<std::int64_t> unix_time_;
};

// A connection's place in the table, for as long as its task serves it.
class ConnectionTable::Entry {
 public:
  // Without a socket yet: a deadline is then not enforced.
  explicit Entry(ConnectionTable& table);
  ~Entry();
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  // From now on it is stopped by shutting `socket` down, which must stay open until forget_socket(), or until
  // the entry has gone.
  void set_socket(int socket) { socket_.store(socket, std::memory_order_relaxed); }
  // From now on nothing is shut down. To be called before the socket is closed while the entry stays.
  void forget_socket() {
    const std::lock_guard lock(shard_.mutex);  // the sweeper may be about to use it
    set_socket(-1);
  }
  // Starts a phase and its deadline anew, and returns both.
  std::uint64_t enter(Phase phase) {
    const std::uint64_t word = table_.word_for(phase);
    word_.store(word, std::memory_order_relaxed);
    return word;
  }
  // Goes on with a phase that was begun before.
  void resume(std::uint64_t word) { word_.store(word, std::memory_order_relaxed); }
  void count_request() {
    requests_.store(requests_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  [[nodiscard]] Phase phase() const {
    return static_cast<Phase>(word_.load(std::memory_order_relaxed) % kPhases);
  }
  // Of a stream that has no socket to be shut down: its reading has ended for being late.
  void mark_stopped() { stopped_.store(true, std::memory_order_relaxed); }
  // True once the reading side was shut down: there is nothing to wait for any more.
  [[nodiscard]] bool is_stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  friend class ConnectionTable;

  static constexpr std::uint64_t kUnknown = ~std::uint64_t{0};

  void stop(Phase phase);
  bool extend_if_moving(std::uint64_t word);

  ConnectionTable& table_;
  Shard& shard_;
  std::atomic<int> socket_{-1};  // written by the connection, read by the sweeper
  const AnyTask task_;
  std::size_t index_ = 0;            // in shard_.entries
  std::atomic<std::uint64_t> word_;  // written by the connection, read and extended by the sweeper
  // The sweeper's: the word it saw last, if an answer was being sent, and how much of that was taken.
  std::uint64_t watched_word_ = 0;
  std::uint64_t acknowledged_ = kUnknown;
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<bool> stopped_{false};  // written by the sweeper
};

}  // namespace fibrio::http
