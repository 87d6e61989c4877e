// A chat over WebSockets. Each guest has two tasks: one receives and passes on to all, one sends what has
// come for it.
//
//   31_chat 8080     serves http://127.0.0.1:8080/ until Ctrl-C: open it in two windows of a browser (tests/browser
//                    does so, with Chromium)
//   31_chat          lets three guests talk, and prints what one of them hears
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fibrio/fibrio.hpp>
#include <fibrio/http/server.hpp>
#include <fibrio/http/session.hpp>
#include <fibrio/http/websocket.hpp>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
namespace http = fibrio::http;

namespace {

constexpr const char* kPage = R"html(<!doctype html><title>chat</title><ul id="log"></ul>
<form id="form"><input id="line" autofocus autocomplete="off"></form><script>
const socket = new WebSocket("ws://" + location.host + "/chat/browser");
const add = text => { const li = document.createElement("li"); li.textContent = text; log.append(li); };
socket.onmessage = event => add(event.data);
socket.onclose = () => add("(closed)");
form.onsubmit = () => { socket.send(line.value); line.value = ""; return false; };
</script>)html";

using News = fibrio::Queue<std::string>;

class Room {
 public:
  void tell(const std::string& text) {
    const std::lock_guard lock(mutex_);                      // never held over a wait: try_put does not wait
    for (News* guest : guests_) (void)guest->try_put(text);  // a guest that is too slow misses it
  }
  // What one guest does, from its coming to its leaving.
  void attend(http::WebSocket& socket, const std::string& name) {
    News news(100);
    seat(news, true);
    tell(name + " comes");
    fibrio::task_group([&](fibrio::TaskGroup& tasks) {
      auto sender = tasks.create_task([&] {
        try {
          for (;;) socket.send(news.get());
        } catch (const std::runtime_error&) {  // it has just left; the receiver hears of that, too
        }
      });
      try {
        while (const auto message = socket.receive()) tell(name + ": " + message->data);
      } catch (const std::runtime_error&) {  // it left without a word
      } catch (...) {
        seat(news, false);
        throw;
      }
      seat(news, false);
      sender.cancel();
    });
    tell(name + " leaves");
  }

 private:
  void seat(News& guest, bool is_here) {
    const std::lock_guard lock(mutex_);
    is_here ? void(guests_.insert(&guest)) : void(guests_.erase(&guest));
  }

  std::mutex mutex_;
  std::set<News*> guests_;
};

void talk(const std::string& url) {
  http::Session session;
  const auto ann = http::connect_websocket(session, url + "/ann");
  const auto hear = [&ann] { std::printf("ann hears: %s\n", ann->receive()->data.c_str()); };
  hear();
  const auto bob = http::connect_websocket(session, url + "/bob");
  hear();
  {
    const auto cid = http::connect_websocket(session, url + "/cid");
    hear();
    cid->send("hello, all");
    hear();
    ann->send("hello, cid");
    hear();
    cid->close();
    hear();
  }
  bob->close();
  hear();
  ann->close();
}

}  // namespace

int main(int argc, char** argv) {
  fibrio::run([&] {
    Room room;
    http::Server server;
    server.route("GET", "/",
                 [](http::Request&) { return http::Response(kPage, "text/html; charset=utf-8"); });
    server.route("GET", "/chat/{name}", [&room](http::Request& request) {
      return http::websocket_response(request, [&room, name = request.parameter("name")](
                                                   http::WebSocket& socket) { room.attend(socket, name); });
    });
    server.listen(
        fibrio::Address::parse("127.0.0.1", static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0)));
    if (argc > 1) {
      std::printf("chat: http://%s/\n", server.addresses()[0].to_string().c_str());
      std::fflush(stdout);
      return server.serve();
    }
    const auto serving = fibrio::create_task([&server] { server.serve(); });
    talk("ws://" + server.addresses()[0].to_string() + "/chat");
    server.shutdown(1s);
    fibrio::await(serving);
  });
}
