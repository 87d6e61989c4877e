// What: a TCP proxy that does to each connection what its plan says; written with fibrio's streams, so that these are
//   what stands in the storm, too.
// Threads: tasks of one loop.
// Protocol: a connection has a task per direction. Either may end both; it is over when both are.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "chaos/handlers.hpp"
#include "chaos/plan.hpp"
#include "fibrio/fibrio.hpp"

namespace fibrio::chaos {

struct ProxyCounts {
  std::uint64_t connections = 0;
  std::uint64_t bytes = 0;
  std::array<std::uint64_t, kFaults> faults = {};

  [[nodiscard]] std::uint64_t of(Fault fault) const { return faults[static_cast<std::size_t>(fault)]; }
  ProxyCounts& operator+=(const ProxyCounts& more);
  [[nodiscard]] std::string text() const;
};

class Proxy {
 public:
  // Listens on a port of 127.0.0.1, for what listens on `target` there. In a task.
  Proxy(std::uint16_t target, PlanOptions options);
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  [[nodiscard]] std::uint16_t port() const { return server_.sockets().at(0).port(); }
  [[nodiscard]] ProxyCounts counts() const;
  // Refuses what comes from now on, and waits until all connections have ended by themselves.
  void wait_closed();

 private:
  struct Link;
  void serve(StreamReader& reader, StreamWriter& writer);
  // Moves bytes until their end. False: the link has ended.
  void pump(Link& link, Direction direction);
  bool apply(const Plan::Step& step, Link& link, Direction direction);
  void send(StreamWriter& to, std::string_view data, bool is_split);
  void count(Fault fault) {
    faults_[static_cast<std::size_t>(fault)].fetch_add(1, std::memory_order_relaxed);
  }

  const std::uint16_t target_;
  const PlanOptions options_;
  std::atomic<std::uint64_t> connections_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::array<std::atomic<std::uint64_t>, kFaults> faults_ = {};
  Handlers handlers_;
  Server server_;
};

}  // namespace fibrio::chaos
