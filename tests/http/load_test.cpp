// Load generators against our server: ApacheBench, which speaks HTTP/1.0, and wrk, which looks at every body by a
// script.
#include <string>

#include "http/programs.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"

using namespace http_test;
namespace http = fibrio::http;

namespace {

constexpr int kRequests = 4000 / fibrio::test::kSlowdown;

void add_routes(http::Server& server) {
  server.route("GET", "/small", [](http::Request&) { return http::Response("small\n"); });
  server.route("GET", "/large", [](http::Request&) { return http::Response(std::string(200'000, 'l')); });
  server.route("POST", "/echo", [](http::Request& request) { return http::Response(request.read_all()); });
  server.route("GET", "/number/{n}", [](http::Request& request) {
    const std::string& number = request.parameter("n");
    if (number.back() != '7') return http::Response("number " + number);
    http::Response response;
    response.stream = [number](http::BodyWriter& out) {
      out.write("num");
      out.flush();
      out.write("ber " + number);
    };
    return response;
  });
}

// Every request is answered, with the first one's length, on as many connections as there should be.
void check_ab(ServerThread& server, const std::string& options, const std::string& path, bool keeps) {
  const std::uint64_t accepted_before = server.server().stats().accepted;
  const std::string output = run("ab -q -s 20 -c 20 -n " + std::to_string(kRequests) + " " + options +
                                 " http://127.0.0.1:" + std::to_string(server.port()) + path + " 2>&1");
  INFO(output);
  CHECK(number_after(output, "Complete requests:") == kRequests);
  CHECK(number_after(output, "Failed requests:") == 0);
  CHECK(number_after(output, "Non-2xx responses:") == -1);
  CHECK(number_after(output, "Keep-Alive requests:") == (keeps ? kRequests : -1));
  const auto accepted = static_cast<int>(server.server().stats().accepted - accepted_before);
  if (keeps) {
    CHECK(accepted <= 20);
  } else {
    CHECK(accepted >= kRequests);
  }
}

}  // namespace

TEST_CASE("ab finds no failed request, on kept connections and on new ones", "[http]") {
  fibrio::test::need_program("ab");
  const Folder folder;
  const std::string body = folder.write("body", folder.data().substr(0, 20'000));
  for (const std::size_t workers : {1, 2, 4}) {
    ServerThread server(add_routes, {}, workers);
    check_ab(server, "-k", "/small", true);
    check_ab(server, "", "/small", false);
    check_ab(server, "-k", "/large", true);
    check_ab(server, "-k -T text/plain -p " + body, "/echo", true);
  }
}

TEST_CASE("wrk gets the body that belongs to each request, pipelined too", "[http]") {
  fibrio::test::need_program("wrk");
  const Folder folder;
  // Answers of one connection come in its requests' order, but wrk does not tell the script of which connection
  // it is; so there is one connection for each thread.
  const std::string script = folder.write("numbers.lua", R"lua(
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(arguments)
  depth, asked, answered, due, wrong = tonumber(arguments[1]), 0, 0, 0, 0
end
function request()
  local requests = {}
  for i = 1, depth do
    requests[i] = wrk.format("GET", "/number/" .. asked)
    asked = asked + 1
  end
  return table.concat(requests)
end
function response(status, headers, body)
  -- One thread's first requests are made to be looked at, and not sent.
  if answered == 0 and body == "number " .. depth then due = depth end
  if status ~= 200 or body ~= "number " .. due then wrong = wrong + 1 end
  answered, due = answered + 1, due + 1
end
function done(summary, latency, requests)
  local errors, answered, wrong = summary.errors, 0, 0
  for _, thread in ipairs(threads) do
    answered, wrong = answered + thread:get("answered"), wrong + thread:get("wrong")
  end
  print("answered: " .. answered)
  print("wrong: " .. wrong)
  print("errors: " .. errors.connect + errors.read + errors.write + errors.status + errors.timeout)
end
)lua");
  for (const std::size_t workers : {1, 2, 4}) {
    ServerThread server(add_routes, {}, workers);
    for (const char* depth : {"1", "16"}) {
      const std::string output =
          run("wrk -t 4 -c 4 -d 1 -s " + script + " http://127.0.0.1:" + std::to_string(server.port()) +
              " -- " + depth + " 2>&1");
      INFO(output);
      CHECK(number_after(output, "answered: ") > 100);
      CHECK(number_after(output, "wrong: ") == 0);
      CHECK(number_after(output, "errors: ") == 0);
    }
  }
}
