// Who is connected, and until when.
//
// Every connection has one deadline at a time: for a header, for a body, for the next request, for the peer
// to take an answer. Instead of a timer per read, the table keeps a coarse clock and one task sweeps over all
// connections at each tick: entering a phase is then two plain loads and a store, no system call, no
// allocation, no clock read. A deadline is late by up to two ticks and never early.
//
// When it has passed, the sweeper shuts the socket's *reading* side down. A waiting read then returns 0, and
// every later one gets what the kernel has already received, without waiting; writing still works. So the
// connection's own task finds out in its own time and can answer 408: nobody interrupts it, and no request
// that has arrived is lost. Only a peer that does not take its answer is cut off in both directions.
//
// Rejected: EventLoop::call_later per connection, re-armed lazily (a clock read per phase, an allocation per
// arming, a lifetime to share); Task::cancel as the signal (it may come a moment late, and hit the next
// request's handler).
#pragma once

#include <atomic>
#include <cstdint>
#include <fibrio/fibrio.hpp>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "options.hpp"

namespace http_server {

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
  // One of the max_connections places, given back by the destructor. False if there was none.
  class Place {
   public:
    explicit Place(ConnectionTable& table);
    Place(Place&& other) noexcept : table_(std::exchange(other.table_, nullptr)) {}
    ~Place();
    explicit operator bool() const { return table_ != nullptr; }

   private:
    ConnectionTable* table_;
  };

  explicit ConnectionTable(const Options& options);

  // Connections that are being served, or about to be.
  [[nodiscard]] std::size_t count() const { return count_.load(std::memory_order_relaxed); }

  // For the sweeper: one tick passes, and whoever is late is stopped.
  void sweep();
  [[nodiscard]] fibrio::Duration tick() const { return tick_; }
  // Stops connections that wait for a request: they answer what has arrived, and end.
  void stop_idle();
  // Cancels the tasks of all connections.
  void cancel_all();

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

  const std::size_t max_connections_;  // places
  const fibrio::Duration tick_;
  std::uint64_t limits_[kPhases];  // in ticks, for each phase
  Shard shards_[kShards];
  std::atomic<std::size_t> next_shard_{0};
  std::atomic<std::size_t> count_{0};
  std::atomic<std::uint64_t> ticks_{0};  // written by the sweeper alone
  std::atomic<std::int64_t> unix_time_;
};

// A connection's place in the table, for as long as its task serves it. Its socket must outlive it.
class ConnectionTable::Entry {
 public:
  Entry(ConnectionTable& table, int socket);
  ~Entry();
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  // Starts a phase and its deadline anew.
  void enter(Phase phase) { word_.store(table_.word_for(phase), std::memory_order_relaxed); }
  // True once the reading side was shut down: there is nothing to wait for any more.
  [[nodiscard]] bool is_stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  friend class ConnectionTable;

  [[nodiscard]] Phase phase() const {
    return static_cast<Phase>(word_.load(std::memory_order_relaxed) % kPhases);
  }
  void stop(Phase phase);

  ConnectionTable& table_;
  Shard& shard_;
  const int socket_;
  const fibrio::AnyTask task_;
  std::size_t index_ = 0;             // in shard_.entries
  std::atomic<std::uint64_t> word_;   // written by the connection, read by the sweeper
  std::atomic<bool> stopped_{false};  // written by the sweeper
};

}  // namespace http_server
