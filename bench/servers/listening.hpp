// What: how the servers begin that a load generator measures from outside: their arguments, the listener, a task per
// connection.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "../arguments.hpp"
#include "fibrio/fibrio.hpp"

namespace bench {

struct Listening {
  std::uint16_t port = 0;
  fibrio::Config config = [] {
    fibrio::Config one;
    one.workers = 1;
    return one;
  }();

  // Whether the argument here is one of these two: --port P, --workers N.
  bool take(Arguments& arguments) {
    if (arguments.is("--port")) {
      port = arguments.value<std::uint16_t>(0, UINT16_MAX);
    } else if (arguments.is("--workers")) {
      config.workers = arguments.value<std::size_t>(1, 1024);
    } else {
      return false;
    }
    return true;
  }
};

// The line that compare/net_servers.py looks for.
inline void say(const char* what, const fibrio::Address& address) {
  std::printf("%s on %s\n", what, address.to_string().c_str());
  std::fflush(stdout);
}

// Runs a server for ever, whose connections are `converse(stream)` each, accepted by a task per worker.
//   name [--port P] [--workers N]     prints "listening on 127.0.0.1:P"
template <class Converse>
void serve_forever(const std::string& name, int argc, char** argv, Converse converse) {
  Listening listening;
  const std::string usage = name + " [--port P] [--workers N]";
  Arguments arguments(argc, argv, usage.c_str());
  while (arguments.next()) {
    if (!listening.take(arguments)) arguments.refuse_unknown();
  }
  const auto serve = [converse](fibrio::TcpListener& listener) {
    for (;;) fibrio::spawn(converse, listener.accept());
  };
  fibrio::run(
      [&] {
        const auto address = fibrio::Address::parse("127.0.0.1", listening.port);
        auto listener = fibrio::TcpListener::bind(address, {.backlog = 4096});
        say("listening", listener.local_address());
        std::vector<fibrio::Task<>> acceptors;
        for (std::size_t i = 0; i < fibrio::get_running_loop().workers(); ++i) {
          acceptors.push_back(fibrio::spawn(serve, std::ref(listener)));
        }
        for (const auto& acceptor : acceptors) fibrio::await(acceptor);
      },
      listening.config);
}

}  // namespace bench
