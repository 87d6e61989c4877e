// What: an HTTP server on the running loop, for as long as it lives.
// Threads: made, used and destroyed in tasks. At its end it waits until its connections are gone.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "fibrio/http/server.hpp"
#include "support/net.hpp"

namespace http_test {

class Site {
 public:
  // `setup` adds the routes.
  explicit Site(const std::function<void(fibrio::http::Server&)>& setup,
                fibrio::http::ServerOptions options = {})
      : server_(std::move(options)) {
    setup(server_);
    server_.listen(fibrio::net_test::loopback());
    serving_ = fibrio::create_task([this] { server_.serve(); });
  }
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;
  ~Site() {
    const fibrio::CancelMask mask;
    serving_.cancel();
    serving_.wait();
    fibrio::net_test::wait_until([this] { return server_.stats().connections == 0; }, "no connection");
  }

  [[nodiscard]] fibrio::Address address() const { return server_.addresses()[0]; }
  [[nodiscard]] std::string url(const std::string& target = "/") const {
    return "http://" + address().to_string() + target;
  }
  [[nodiscard]] fibrio::http::ServerStats stats() const { return server_.stats(); }
  [[nodiscard]] fibrio::http::Server& server() { return server_; }

 private:
  fibrio::http::Server server_;
  fibrio::Task<> serving_;
};

}  // namespace http_test
