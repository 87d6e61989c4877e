// The life of the server: listen, accept until a signal comes, drain, end.
#pragma once

#include <fibrio/fibrio.hpp>
#include <vector>

#include "options.hpp"
#include "server_state.hpp"

namespace http_server {

class Server {
 public:
  // Must outlive the loop it runs on: connections refer to it until their tasks are over.
  explicit Server(Options options) : state_(std::move(options)) {}

  // Runs until SIGTERM or SIGINT, and until what was in flight then is answered. To be called once, in a
  // task.
  void run();

 private:
  void listen();
  void accept_connections(fibrio::TcpListener& listener);
  void admit(fibrio::TcpStream stream);
  void drain();
  void empty_backlog(fibrio::TcpListener& listener);
  void wait_for_connections(fibrio::TimePoint deadline);

  ServerState state_;
  std::vector<fibrio::TcpListener> listeners_;
  std::vector<fibrio::Task<>> acceptors_;
  fibrio::Future<> stop_;      // a signal came
  bool is_impatient_ = false;  // a second one
};

}  // namespace http_server
