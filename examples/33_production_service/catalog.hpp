// A cache of what is asked for most. A background task keeps it warm; requests take the latest copy, and never
// wait for the database.
#pragma once

#include <cstdio>
#include <fibrio/fibrio.hpp>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "database.hpp"

namespace service {

class Catalog {
 public:
  explicit Catalog(Database& database) : database_(database) {}

  // The latest copy; null before the first one. Whoever has it may keep it: it does not change.
  [[nodiscard]] std::shared_ptr<const nlohmann::json> latest() {
    const std::lock_guard lock(mutex_);
    return latest_;
  }
  // The background task.
  void warm_for_ever() {
    for (;; fibrio::sleep(kPeriod)) {
      try {
        auto fresh = std::make_shared<const nlohmann::json>(
            fibrio::timeout(kPeriod, [this] { return database_.load_catalog(); }));
        const std::lock_guard lock(mutex_);
        latest_ = std::move(fresh);
        ++refreshes_;
      } catch (const std::exception& error) {  // the old copy stays, and the task goes on
        std::fprintf(stderr, "catalog: %s\n", error.what());
      }
    }
  }
  [[nodiscard]] nlohmann::json stats() {
    const std::lock_guard lock(mutex_);
    return {{"refreshes", refreshes_}};
  }

 private:
  static constexpr fibrio::Duration kPeriod = std::chrono::seconds(10);

  Database& database_;
  std::mutex mutex_;  // of threads: never held over a wait
  std::shared_ptr<const nlohmann::json> latest_;
  std::uint64_t refreshes_ = 0;
};

}  // namespace service
