// Who is logged in. Every use of a session prolongs it; a background task removes those that nobody uses.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <fibrio/fibrio.hpp>
#include <fibrio/http/message.hpp>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>

namespace service {

class Sessions {
 public:
  explicit Sessions(fibrio::Duration ttl) : ttl_(ttl) {}

  // Returns the new session's id; nothing if there are too many.
  std::optional<std::string> create(const std::string& user) {
    std::random_device kernel;  // an id must not be guessed
    std::array<char, 33> id{};
    for (std::size_t i = 0; i < 32; i += 8) std::snprintf(&id[i], 9, "%08x", kernel());
    const std::lock_guard lock(mutex_);
    if (sessions_.size() >= kMax) return std::nullopt;
    sessions_[id.data()] = {user, now() + ttl_};
    return id.data();
  }
  // Whose request this is. Throws: the answer 401.
  std::string user_of(const fibrio::http::Request& request) {
    const std::string id = request.cookie("sid").value_or("");
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(id);
    if (found == sessions_.end() || found->second.expires <= now())
      throw fibrio::http::HttpError(401, "log in first");
    found->second.expires = now() + ttl_;
    return found->second.user;
  }
  // The background task.
  void clean_for_ever() {
    for (;;) {
      fibrio::sleep(std::max<fibrio::Duration>(ttl_ / 4, std::chrono::milliseconds(100)));
      const std::lock_guard lock(mutex_);
      expired_ +=
          std::erase_if(sessions_, [time = now()](const auto& one) { return one.second.expires <= time; });
    }
  }
  nlohmann::json stats() {
    const std::lock_guard lock(mutex_);
    return {{"alive", sessions_.size()}, {"expired", expired_}};
  }

 private:
  static constexpr std::size_t kMax = 100'000;  // what strangers can make has a limit
  struct Session {
    std::string user;
    fibrio::TimePoint expires;
  };

  static fibrio::TimePoint now() { return fibrio::get_running_loop().time(); }

  const fibrio::Duration ttl_;
  std::mutex mutex_;  // of threads: never held over a wait
  std::unordered_map<std::string, Session> sessions_;
  std::uint64_t expired_ = 0;
};

}  // namespace service
