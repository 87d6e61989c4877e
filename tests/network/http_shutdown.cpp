// examples/http_server, told to stop: no request that has reached it is lost, and it ends in time with code
// 0.
#include <signal.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "network/http_client.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> with_workers(int workers, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"--workers", std::to_string(workers)});
  return more;
}

// Asks for something slow, and returns once its handler is about to run: answers that came before are sent
// then.
Client start_slow(int port, const std::string& path) {
  Client client(port);
  client.send(get("/") + get(path));
  REQUIRE(client.receive().status == 200);
  return client;
}

}  // namespace

TEST_CASE("The HTTP server finishes requests in flight when it is terminated", "[http]") {
  if (!have_server()) return;
  for (const int workers : {1, 2}) {
    CAPTURE(workers);
    ServerProcess server(with_workers(workers));
    std::vector<Client> clients;
    for (int i = 0; i < 20; ++i) {
      clients.push_back(start_slow(server.port(), i % 2 == 0 ? "/sleep?ms=1000" : "/offload?ms=1000"));
    }
    Client idle(server.port());
    REQUIRE(idle.ask(get("/")).status == 200);
    server.send_signal(SIGTERM);
    CHECK(idle.is_closed_by_server());  // it drains, then
    for (Client& client : clients) {
      const Reply reply = client.receive();
      CHECK(reply.status == 200);
      CHECK(reply.field("Connection") == "close");
      CHECK(client.is_closed_by_server());
    }
    CHECK(server.wait_exit() == 0);
  }
}

TEST_CASE("The HTTP server finishes a computation when it is terminated", "[http]") {
  if (!have_server()) return;
  for (const int workers : {1, 2}) {
    CAPTURE(workers);
    ServerProcess server(with_workers(workers));
    Client client = start_slow(server.port(), "/cpu?us=300000");
    server.send_signal(SIGTERM);
    CHECK(client.receive().body == "computed for 300000 us\n");
    CHECK(client.is_closed_by_server());
    CHECK(server.wait_exit() == 0);
  }
}

TEST_CASE("The HTTP server answers connections of its backlog and requests of idle ones before it ends",
          "[http]") {
  if (!have_server()) return;
  for (const char* accept : {"shared", "reuseport"}) {
    for (const int workers : {1, 2}) {
      CAPTURE(accept, workers);
      ServerProcess server(with_workers(workers, {"--accept", accept}));
      std::vector<Client> clients;
      for (int i = 0; i < 50; ++i) {
        clients.emplace_back(server.port());
        REQUIRE(clients.back().ask(get("/")).status == 200);
      }
      // While the server stands still, the kernel accepts and receives for it.
      server.send_signal(SIGSTOP);
      for (int i = 0; i < 200; ++i) clients.emplace_back(server.port());
      for (Client& client : clients) REQUIRE(client.send(get("/")));
      server.send_signal(SIGTERM);
      server.send_signal(SIGCONT);
      for (Client& client : clients) {
        const Reply reply = client.receive();
        REQUIRE(reply.status == 200);
        CHECK(client.is_closed_by_server());
      }
      CHECK(server.wait_exit() == 0);
    }
  }
}

TEST_CASE("The HTTP server closes idle connections and ends soon when it is interrupted", "[http]") {
  if (!have_server()) return;
  for (const int workers : {1, 2}) {
    CAPTURE(workers);
    ServerProcess server(with_workers(workers));
    Client used(server.port());
    Client fresh(server.port());
    REQUIRE(used.ask(get("/")).status == 200);
    const auto begin = std::chrono::steady_clock::now();
    server.send_signal(SIGINT);
    CHECK(used.is_closed_by_server());
    CHECK(fresh.is_closed_by_server());
    CHECK(server.wait_exit() == 0);
    CHECK(std::chrono::steady_clock::now() - begin < patience());
    CHECK_THROWS(Client(server.port()));
  }
}

TEST_CASE("The HTTP server answers 503 to what is not done when its grace period ends", "[http]") {
  if (!have_server()) return;
  for (const int workers : {1, 2}) {
    CAPTURE(workers);
    ServerProcess server(with_workers(workers, {"--grace", "0.3"}));
    std::vector<Client> clients;
    for (const char* path :
         {"/sleep?ms=60000", "/offload?ms=60000", "/sleep?ms=60000", "/offload?ms=60000"}) {
      clients.push_back(start_slow(server.port(), path));
    }
    server.send_signal(SIGTERM);
    for (Client& client : clients) {
      const Reply reply = client.receive();
      CHECK(reply.status == 503);
      CHECK(reply.field("Connection") == "close");
    }
    CHECK(server.wait_exit() == 0);
  }
}

TEST_CASE("A second signal ends the HTTP server's grace period", "[http]") {
  if (!have_server()) return;
  ServerProcess server({"--grace", "1000"});
  Client client = start_slow(server.port(), "/sleep?ms=60000");
  server.send_signal(SIGINT);
  CHECK_FALSE(client.has_input_within(300ms));
  server.send_signal(SIGINT);
  CHECK(client.receive().status == 503);
  CHECK(server.wait_exit() == 0);
}

TEST_CASE("The HTTP server loses no request when it is terminated under load", "[http]") {
  if (!have_server()) return;
  for (const char* accept : {"shared", "reuseport"}) {
    for (const int workers : {1, 2}) {
      CAPTURE(accept, workers);
      ServerProcess server(with_workers(workers, {"--accept", accept}));
      std::atomic<int> answered{0};
      std::atomic<int> lost{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < 16; ++i) {
        threads.emplace_back([&, port = server.port(), keep = i % 2 == 0] {
          try {
            for (;;) {
              Client client(port);  // throws once nobody listens any more
              Reply reply;
              do {
                reply = client.ask(get("/"));
                ++(reply.status == 200 ? answered : lost);
              } while (keep && reply.status == 200 && reply.field("Connection") != "close");
            }
          } catch (const std::exception&) {
          }
        });
      }
      while (answered < 2000 && lost == 0) std::this_thread::sleep_for(1ms);
      server.send_signal(SIGTERM);
      for (std::thread& thread : threads) thread.join();
      CHECK(answered >= 2000);
      CHECK(lost == 0);
      CHECK(server.wait_exit() == 0);
    }
  }
}
