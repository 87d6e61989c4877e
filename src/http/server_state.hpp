// What: what the parts of a server share. Held by its tasks too, so that one which outlives serve() finds it.
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/server.hpp"
#include "http/connection_table.hpp"
#include "http/farewells.hpp"
#include "http/router.hpp"
#include "http/socket_file.hpp"

namespace fibrio::http::detail {

struct ServerState : std::enable_shared_from_this<ServerState> {
  explicit ServerState(ServerOptions chosen) : options(std::move(chosen)), connections(options) {}

  const ServerOptions options;
  ConnectionTable connections;
  Router router;
  std::vector<TcpListener> listeners;
  std::vector<SocketFile> socket_files;  // of some of them; removed before those close

  Event stop;  // shutdown was called
  Farewells farewells;
  Event finished;  // serve() is over
  std::atomic<bool> is_serving{false};
  std::atomic<bool> is_draining{false};           // every answer closes its connection
  std::atomic<TimePoint::rep> grace_end{kNever};  // of the loop's clock; only ever earlier

  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> dropped{0};

  static constexpr TimePoint::rep kNever = TimePoint::max().time_since_epoch().count();

  // Before the first request, whichever way it comes.
  void finish_routes() {
    std::call_once(routes_once_, [this] { router.finish(); });
  }

  [[nodiscard]] TimePoint grace_deadline() const {
    return TimePoint(Duration(grace_end.load(std::memory_order_relaxed)));
  }

 private:
  std::once_flag routes_once_;
};

}  // namespace fibrio::http::detail
