// What: an http::Server on a loop of its own thread, for tests that ask it with plain blocking clients.
// Threads: made and destroyed on the test's own thread.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fibrio/http/server.hpp"
#include "network/http_client.hpp"
#include "support/net_loops.hpp"

namespace http_test {

// Polls for what the server is about to do; false after a long while.
template <class Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + patience();
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// Serves from its construction until stop() or its destructor.
class ServerThread {
 public:
  using Setup = std::function<void(fibrio::http::Server&)>;

  explicit ServerThread(Setup setup, fibrio::http::ServerOptions options = {}, std::size_t workers = 2)
      : server_(std::move(options)) {
    setup(server_);
    std::promise<int> port;
    std::future<int> chosen = port.get_future();
    fibrio::Config config;
    config.workers = workers;
    loop_ = std::make_unique<fibrio::EventLoop>(config);
    reports_.collect(*loop_);
    thread_ = std::thread([this, &port] {
      loop_->run_until_complete([this, &port] {
        server_.listen(fibrio::Address::parse("127.0.0.1", 0));
        port.set_value(server_.addresses()[0].port());
        server_.serve();
      });
      left_ = fibrio::net_test::run_the_rest(*loop_);  // connections that were cancelled last
    });
    port_ = chosen.get();
  }
  ~ServerThread() { stop(std::chrono::seconds(5)); }
  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] fibrio::http::Server& server() { return server_; }
  [[nodiscard]] fibrio::EventLoop& loop() { return *loop_; }
  [[nodiscard]] std::vector<std::string> take_reports() { return reports_.take(); }

  // Shuts down and checks that nothing is left.
  void stop(fibrio::Duration grace) {
    if (!thread_.joinable()) return;
    loop_->create_task([this, grace] { server_.shutdown(grace); });
    thread_.join();
    CHECK(left_.tasks_alive == 0);
    CHECK(left_.fds == 0);
    CHECK(left_.stacks_in_use == 0);
    loop_.reset();
    CHECK(reports_.take() == std::vector<std::string>());
  }

 private:
  fibrio::http::Server server_;
  fibrio::net_test::Reports reports_;
  std::unique_ptr<fibrio::EventLoop> loop_;
  std::thread thread_;
  fibrio::LoopStats left_;
  int port_ = 0;
};

}  // namespace http_test
