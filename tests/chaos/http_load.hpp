// What: clients, proxies and servers of HTTP in one loop: each request is checked at both ends.
// Threads: tasks of one loop.
//
//   Session, many tasks ─┬─► proxy ─► http::Server
//   pipelining clients  ─┘
//   Session ───────────────► proxy ─► a server whose answers end with the connection
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "chaos/proxy.hpp"
#include "chaos/work.hpp"
#include "fibrio/byte_stream.hpp"

namespace fibrio::chaos {

using Upgrade = std::function<std::unique_ptr<ByteStream>(std::unique_ptr<ByteStream>)>;

struct HttpLoad {
  int session_tasks = 48;
  int pipelines = 8;
  PlanOptions faults;  // its seed is that of the requests, too
  // Whether a request may time out without having asked for it: where pauses are as long as timeouts.
  bool pauses_are_long = false;
  // What is spoken over, on both sides; empty: plain TCP.
  Upgrade accept = {};
  Upgrade connect = {};
  std::function<void()> progress = [] {};  // called after each request
};

// Runs as many requests as the ledger has, and waits until everything is over.
ProxyCounts run_http_load(const HttpLoad& load, Ledger& ledger);

}  // namespace fibrio::chaos
