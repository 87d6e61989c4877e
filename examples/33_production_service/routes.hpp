// What can be asked for, and what the answers are made of.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <fibrio/http/server.hpp>

#include "catalog.hpp"
#include "database.hpp"
#include "jobs.hpp"
#include "options.hpp"
#include "sessions.hpp"

namespace service {

// All that outlives a request. Everything in it may be used from any task.
struct Service {
  explicit Service(const Options& chosen) : options(chosen) {}

  const Options& options;
  Database database{options.lookup_time};
  Sessions sessions{options.session_ttl};
  Catalog catalog{database};
  Jobs jobs{database, options.queue};

  // Statistics, and a flag that comes true once: nothing else depends on them, so relaxed throughout.
  std::atomic<bool> is_draining{false};
  std::atomic<int> in_flight{0};
  std::array<std::atomic<std::uint64_t>, 6> answers{};  // by the first digit of their status
};

void add_routes(fibrio::http::Server& server, Service& service);

}  // namespace service
