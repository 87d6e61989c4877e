// What: the look-ups of one loop's names that are under way, and answers that are a few seconds old.
//
// Threads: any. look_up waits as its caller can (a task is suspended, a plain thread blocks).
//
// Protocol.
//  1. Equal questions share one call (a Query): whoever asks for what is asked already waits for that. So a name that
//     hangs takes one thread, however often it is tried again.
//  2. Each name that is asked has a thread of its own, up to kMaxNames of them; further ones wait in a queue, and a
//     thread that is done takes the next. What needs no server ("localhost", odd forms of numbers) never waits there.
//  3. A cancel ends the caller's wait alone. A query that nobody waits for any more gives up its place in the queue, or
//     is left out when its turn comes; one that has begun runs to its end, since ::getaddrinfo cannot be ended.
//  4. A query is written by its thread until its event is set, and only read afterwards.
//
// Rejected: four threads for all (six names whose server does not answer held up every other name); negative answers
// in the cache (a name that was just made would not be found).
#pragma once

#include <netdb.h>

#include <cstddef>
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

struct NameQuestion {
  std::string host;
  std::string service;
  int family = 0;
  int flags = 0;
  LookUp look_up = {};
};

class NameLookups {
 public:
  static constexpr std::size_t kMaxNames = 256;  // threads cost 50 KB each, and go after 10 s
  static constexpr std::size_t kLocalThreads = 4;

  // The pool outlives it, or is shut down before it goes.
  explicit NameLookups(ThreadPool& pool);

  [[nodiscard]] std::vector<Address> look_up(NameQuestion question);
  // Also the hook, which look_up does not call.
  void set_options(ResolverOptions options);
  [[nodiscard]] std::shared_ptr<const ResolverOptions> options() const;

  struct Query;  // inside
  class State;

 private:
  ThreadPool& pool_;
  std::shared_ptr<State> state_;
};

// One call of the system's look-up, on the calling thread. Throws std::system_error.
[[nodiscard]] std::vector<Address> look_up_now(const NameQuestion& question);

}  // namespace fibrio::detail
