// What: names to addresses: ::getaddrinfo on a small pool of its own.
// Threads: any; resolve waits as its caller can (a task is suspended, a plain thread blocks).
// Protocol: 1. What needs no look-up (a literal and a numeric port) is answered without a thread.
//   2. Everything else is one ::getaddrinfo on the resolver's pool, never on the default executor: slow name
//      servers would take its threads away from files, and a pool full of blocking calls would stop all
//      names.
//   3. The order of the answer is the system's (RFC 6724); what comes twice is dropped.
// Rejected: a resolver of our own over UDP (nsswitch, /etc/hosts, mDNS, VPN split names would be lost);
//   getaddrinfo_a (threads that cannot be cancelled, drained or named); AI_ADDRCONFIG when a family is asked
//   for (glibc then refuses "localhost" on machines where only the loopback has such an address).
#pragma once

#include <netdb.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fibrio/sockets.hpp"
#include "fibrio/threads.hpp"

namespace fibrio::detail {

// The system's look-up; tests pass their own.
struct LookUp {
  int (*getaddrinfo)(const char* host, const char* service, const addrinfo* hints,
                     addrinfo** result) = &::getaddrinfo;
  void (*freeaddrinfo)(addrinfo* result) = &::freeaddrinfo;
};

// The stream addresses of `host` (empty: the loopback, or the wildcard with AI_PASSIVE) and `service` (a
// number, a name, or empty: port 0); at least one. `flags` are AI_ flags for the look-up. Waits: unless both
// are numeric. Throws: std::system_error of resolver_category(), or of std::system_category() if the system
// failed, whose text names host and service; RuntimeError if the pool is shut down.
[[nodiscard]] std::vector<Address> resolve(ThreadPool& pool, const std::string& host,
                                           const std::string& service, int family, int flags = 0,
                                           LookUp look_up = {});

// The part of it that never waits: the answer if no look-up is needed. The same errors.
[[nodiscard]] std::optional<Address> resolve_numeric(const std::string& host, const std::string& service,
                                                     int family);

// A pool for resolve: few threads, made on demand. One per loop.
[[nodiscard]] std::unique_ptr<ThreadPool> make_resolver_pool();

}  // namespace fibrio::detail
