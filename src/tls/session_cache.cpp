#include "tls/session_cache.hpp"

#include <utility>

namespace fibrio::tls {

void SessionCache::keep(const std::string& peer, SessionHandle session) {
  SessionHandle dropped;
  const std::lock_guard guard(lock_);
  if (capacity_ == 0) return;
  if (const auto found = by_peer_.find(peer); found != by_peer_.end()) {
    dropped = std::exchange(found->second->session, std::move(session));
    entries_.splice(entries_.begin(), entries_, found->second);
    return;
  }
  entries_.push_front({peer, std::move(session)});
  by_peer_.emplace(peer, entries_.begin());
  if (entries_.size() <= capacity_) return;
  by_peer_.erase(entries_.back().peer);
  entries_.pop_back();
}

SessionHandle SessionCache::take(const std::string& peer) {
  const std::lock_guard guard(lock_);
  const auto found = by_peer_.find(peer);
  if (found == by_peer_.end()) return nullptr;
  SSL_SESSION* const kept = found->second->session.get();
  if (SSL_SESSION_get_protocol_version(kept) < TLS1_3_VERSION) {
    SSL_SESSION_up_ref(kept);
    return SessionHandle(kept);
  }
  SessionHandle session = std::move(found->second->session);
  entries_.erase(found->second);
  by_peer_.erase(found);
  return session;
}

}  // namespace fibrio::tls
