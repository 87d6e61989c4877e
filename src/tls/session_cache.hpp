// What: the sessions that a client may resume: the latest one of each peer, for so many peers.
// Threads: any. Called inside OpenSSL, so with a connection's mutex held; the lock here is the inner one.
// Protocol: who takes a session of TLS 1.3 has it alone: a ticket should be used once, and the peer sends new ones.
//   With TLS 1.2 it mostly sends none to who resumes, so the session stays.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <mutex>
#include <string>

#include "tls/openssl.hpp"

namespace fibrio::tls {

class SessionCache {
 public:
  explicit SessionCache(std::size_t capacity) noexcept : capacity_(capacity) {}

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  void keep(const std::string& peer, SessionHandle session);
  // Null: there is none.
  [[nodiscard]] SessionHandle take(const std::string& peer);

 private:
  struct Entry {
    std::string peer;
    SessionHandle session;
  };
  const std::size_t capacity_;
  std::mutex lock_;
  std::list<Entry> entries_;  // the latest first
  std::map<std::string, std::list<Entry>::iterator> by_peer_;
};

}  // namespace fibrio::tls
