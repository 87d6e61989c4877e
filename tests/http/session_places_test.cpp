// fibrio/http/session.hpp: requests that wait for one of the session's places.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fibrio/http/session.hpp"
#include "http/site.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using http::ClientResponse;
using http::Request;
using http::Response;
using http::Session;
using http_test::Site;

namespace {

// A server on the running loop that notes the names it was asked for, in their order.
class Notebook {
 public:
  [[nodiscard]] std::string url(const std::string& name) const { return site_.url('/' + name); }
  [[nodiscard]] std::string names() const {
    const std::lock_guard lock(mutex_);
    return names_;
  }

 private:
  mutable std::mutex mutex_;
  std::string names_;
  const Site site_{[this](http::Server& server) {
    server.route("GET", "/{name}", [this](Request& request) {
      const std::lock_guard lock(mutex_);
      names_ += request.parameter("name") + ' ';
      return Response(std::string(request.path()));
    });
  }};
};

// Starts a request and waits until it waits for a place.
Task<> queue_up(Session& session, const std::string& url) {
  Task<> task = create_task([&session, url] { (void)session.get(url).read_all(); });
  wait_until([&task] { return inspect(task).state == TaskState::kWaiting; }, "a request that waits");
  return task;
}

std::uint64_t steps() {
  std::uint64_t sum = 0;
  for (const WorkerStats& worker : get_running_loop().stats().workers) sum += worker.tasks_run;
  return sum;
}

}  // namespace

TEST_CASE("Session: requests that wait for a place go in the order they came", "[http]") {
  on_loops([] {
    const Notebook site;
    Session session({.max_connections = 1});
    std::optional<ClientResponse> first = session.get(site.url("first"));
    std::vector<Task<>> tasks;
    std::string wanted = "first ";
    for (int i = 0; i < 20; ++i) {
      tasks.push_back(queue_up(session, site.url(std::to_string(i))));
      if (i != 7) wanted += std::to_string(i) + ' ';
    }
    tasks[7].cancel();
    tasks[7].wait();
    first.reset();
    for (Task<>& task : tasks) {
      task.wait();
      if (!task.cancelled()) task.result();
    }
    expect(site.names() == wanted, "the order " + wanted + ", not " + site.names());
  });
}

TEST_CASE("Session: who waits for a busy host stops nobody who waits for another one", "[http]") {
  on_loops([] {
    const Notebook a;
    const Notebook b;
    const Notebook c;
    Session session({.max_connections = 2, .max_connections_per_host = 1});
    std::optional<ClientResponse> at_a = session.get(a.url("held"));
    std::optional<ClientResponse> at_b = session.get(b.url("held"));
    std::vector<Task<>> at_a_next;
    at_a_next.push_back(queue_up(session, a.url("1")));
    at_a_next.push_back(queue_up(session, a.url("2")));
    Task<> at_b_next = queue_up(session, b.url("1"));
    Task<> at_c = queue_up(session, c.url("1"));
    at_b.reset();
    at_b_next.wait();
    at_c.wait();
    expect(a.names() == "held ", "a, whose place is held, was not asked");
    expect(b.names() == "held 1 ", "b was");
    expect(c.names() == "1 ", "and c, for which b's idle connection was closed");
    at_a.reset();
    for (Task<>& task : at_a_next) task.wait();
    expect(a.names() == "held 1 2 ", "a was asked in order");
  });
}

TEST_CASE("Session: requests that wait for a place are woken once each, however many there are", "[http]") {
  on_loops([] {
    const Notebook site;
    const auto steps_per_request = [&site](int count) {
      Session session({.max_connections = 4});
      std::vector<Task<>> tasks;
      const std::uint64_t before = steps();
      for (int i = 0; i < count; ++i) {
        tasks.push_back(create_task([&] { (void)session.get(site.url("x")).read_all(); }));
      }
      for (Task<>& task : tasks) task.wait();
      return static_cast<double>(steps() - before) / count;
    };
    const double few = steps_per_request(100);
    const double many = steps_per_request(1500);
    expect(many < 3 * few + 10, "steps per request: " + std::to_string(few) + " and " + std::to_string(many));
  });
}

TEST_CASE("Session: requests cancelled while they wait or are woken lose no place", "[http][stress]") {
  on_loops([] {
    const Notebook a;
    const Notebook b;
    constexpr std::size_t kPlaces = 3;
    Session session({.max_connections = kPlaces, .max_connections_per_host = 2});
    std::vector<Task<>> tasks;
    for (int i = 0; i < 300; ++i) {
      tasks.push_back(create_task([&, i] { (void)session.get((i % 3 == 0 ? a : b).url("x")).read_all(); }));
    }
    for (std::size_t i = 0; i < tasks.size(); i += 2) {
      if (i % 10 == 0) tasks[i + 1].wait();  // so that the cancellations are spread over the whole
      tasks[i].cancel();
    }
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      tasks[i].wait();
      if (i % 2 == 1) tasks[i].result();
    }
    timeout(10s, [&] {
      std::vector<ClientResponse> held;
      held.push_back(session.get(a.url("x")));
      held.push_back(session.get(a.url("x")));
      held.push_back(session.get(b.url("x")));
    });
  });
}

TEST_CASE("Session: close ends requests that wait for a place", "[http]") {
  on_loops([] {
    const Notebook site;
    Session session({.max_connections = 1});
    std::optional<ClientResponse> first = session.get(site.url("first"));
    Task<> waiting = queue_up(session, site.url("second"));
    Task<> behind = queue_up(session, site.url("third"));
    session.close();
    for (Task<>* task : {&waiting, &behind}) {
      task->wait();
      expect_throws<RuntimeError>([&] { task->result(); }, "a request of a closed session");
    }
  });
}
