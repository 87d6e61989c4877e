// What: names to addresses: ::getaddrinfo on a pool of its own (name_lookups.hpp), or what set_resolver gave.
// Threads: any; resolve waits as its caller can (a task is suspended, a plain thread blocks).
// Protocol: 1. What needs no look-up (a literal and a numeric port) is answered without a thread.
//   2. Everything else is a ::getaddrinfo on the resolver's pool, never on the default executor: slow name
//      servers would take its threads away from files, and a pool full of blocking calls would stop all
//      names. With a hook it is a call of that, in the calling task.
//   3. The order of the answer is the system's (RFC 6724); what comes twice is dropped.
// Rejected: a resolver of our own over UDP (nsswitch, /etc/hosts, mDNS, VPN split names would be lost);
//   getaddrinfo_a (threads that cannot be cancelled, drained or named); AI_ADDRCONFIG when a family is asked
//   for (glibc then refuses "localhost" on machines where only the loopback has such an address).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fibrio/sockets.hpp"
#include "fibrio/threads.hpp"
#include "net/name_lookups.hpp"

namespace fibrio::detail {

// The stream addresses of `host` (empty: the loopback, or the wildcard with AI_PASSIVE) and `service` (a
// number, a name, or empty: port 0); at least one. `flags` are AI_ flags for the look-up. Waits: unless both
// are numeric. Throws: std::system_error of resolver_category(), or of std::system_category() if the system
// failed, whose text names host and service; RuntimeError if the pool is shut down.
[[nodiscard]] std::vector<Address> resolve(NameLookups& names, const std::string& host,
                                           const std::string& service, int family, int flags = 0,
                                           LookUp look_up = {});

// The part of it that never waits: the answer if no look-up is needed. The same errors.
[[nodiscard]] std::optional<Address> resolve_numeric(const std::string& host, const std::string& service,
                                                     int family);

// A pool for NameLookups: threads are made on demand, and go when there is nothing to do. One per loop.
[[nodiscard]] std::unique_ptr<ThreadPool> make_resolver_pool();

}  // namespace fibrio::detail
