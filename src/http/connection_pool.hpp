// What: the connections of a session: how many there are, and those that wait for a next request.
// Threads: any task of the session's loop.
// Invariant: count = idle + leased, in total and for each origin; a Lease is one that is counted.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/session.hpp"

namespace fibrio::http::detail {

class ConnectionPool : public std::enable_shared_from_this<ConnectionPool> {
 public:
  class Lease;

  explicit ConnectionPool(std::shared_ptr<const SessionOptions> options) : options_(std::move(options)) {}

  // Returns a connection to `url`'s origin, a kept one if there is one and `may_reuse`; waits for a place and
  // for the connection. Throws: RuntimeError after close().
  Lease lease(const Url& url, bool may_reuse);
  [[nodiscard]] std::size_t idle() const;
  void close();

 private:
  struct Idle {
    std::shared_ptr<ByteStream> stream;
    TimePoint until;
  };
  struct Origin {
    std::deque<Idle> idle;  // the one used last at the back
    std::size_t count = 0;
  };
  using Closing = std::vector<std::shared_ptr<ByteStream>>;

  void give_back(const std::string& origin, std::shared_ptr<ByteStream> stream);
  std::unique_ptr<ByteStream> connect(const Url& url) const;
  // Takes streams off that are of no use; they are closed without the lock.
  void expire_locked(Closing& closing);
  bool drop_one_idle_locked(Closing& closing);
  void forget_locked(const std::string& name, std::size_t count);

  const std::shared_ptr<const SessionOptions> options_;
  mutable std::mutex mutex_;  // never held over a wait
  std::map<std::string, Origin> origins_;
  std::size_t count_ = 0;
  bool is_closed_ = false;
  std::deque<std::shared_ptr<Event>> waiting_;  // for a place; all are woken when one is free
};

// A place in the pool, with a stream once it is connected.
class ConnectionPool::Lease {
 public:
  Lease(std::shared_ptr<ConnectionPool> pool, std::string origin)
      : pool_(std::move(pool)), origin_(std::move(origin)) {}
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&&) = delete;
  ~Lease() {
    if (pool_ != nullptr) pool_->give_back(origin_, nullptr);
  }

  // Gives the connection back for further requests.
  void keep() {
    if (const auto pool = std::move(pool_)) pool->give_back(origin_, std::move(stream));
  }

  std::shared_ptr<ByteStream> stream;  // shared with the task that sends a body
  bool is_reused = false;

 private:
  std::shared_ptr<ConnectionPool> pool_;
  std::string origin_;
};

}  // namespace fibrio::http::detail
