// What: a headless Chromium with an empty profile, driven over its DevTools protocol by our own http::Session
// and WebSocket. Killed at the end, with all of its processes.
// Threads: a Browser is made on the test's own thread, which it blocks; a Tab in a task.
#pragma once

#include <sys/inotify.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "fibrio/http/session.hpp"
#include "fibrio/http/websocket.hpp"
#include "support/net.hpp"
#include "support/process.hpp"
#include "support/program.hpp"
#include "support/temp_folder.hpp"

namespace fibrio::browser_test {

using namespace fibrio::net_test;  // NOLINT

class Browser {
 public:
  Browser() {
    const RawPeer changes(::inotify_init1(IN_CLOEXEC));
    const int watch =
        ::inotify_add_watch(changes.fd(), profile_.path().c_str(), IN_CREATE | IN_MODIFY | IN_MOVED_TO);
    expect(watch >= 0, "a watch on the profile");
    const RawPeer end(fibrio::test::open_pidfd(program_.pid()));
    pollfd entries[] = {{changes.fd(), POLLIN, 0}, {end.fd(), POLLIN, 0}};
    const auto deadline = std::chrono::steady_clock::now() + 20s * kSlowdown;
    while (!read_port()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      if (left <= 0 || ::poll(entries, 2, static_cast<int>(left)) <= 0 || entries[1].revents != 0)
        throw ExpectationFailed("Chromium does not start:\n" + text_of(profile_ / "log"));
      char ignored[4096];
      expect(::read(changes.fd(), ignored, sizeof ignored) > 0, "changes");
    }
  }
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  // Where its DevTools listen: "127.0.0.1:34567".
  [[nodiscard]] const std::string& authority() const { return authority_; }

 private:
  static std::string text_of(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  bool read_port() {
    const std::string text = text_of(profile_ / "DevToolsActivePort");  // the port, a line end, a path
    if (text.find("/devtools/") == std::string::npos) return false;
    authority_ = "127.0.0.1:" + text.substr(0, text.find('\n'));
    return true;
  }

  fibrio::test::TempFolder profile_;
  // `timeout` is there for the case that this process is killed itself. The log is a file: nobody would read a
  // pipe, and Chromium would wait for that.
  Program program_{
      {"sh", "-c",
       "exec timeout -s KILL 300 chromium --headless --no-sandbox --disable-gpu --disable-quic "
       "--disable-dev-shm-usage --disable-breakpad --disable-crash-reporter --no-first-run "
       "--disable-background-networking --disable-component-update --disable-sync "
       "--ignore-certificate-errors --remote-debugging-port=0 --user-data-dir=\"$0\" about:blank "
       ">\"$0/log\" 2>&1",
       profile_.path()}};
  std::string authority_;
};

// A page in a tab of its own, which is closed at the end.
class Tab {
 public:
  Tab(http::Session& session, const Browser& browser, const std::string& url) : session_(session) {
    const std::string devtools = "http://" + browser.authority() + "/json/";
    const auto made = nlohmann::json::parse(session.request("PUT", devtools + "new?" + url).read_all());
    close_url_ = devtools + "close/" + made["id"].get<std::string>();
    socket_ = http::connect_websocket(session, made["webSocketDebuggerUrl"].get<std::string>());
  }

  // The value of a JavaScript expression, waited for if it is a promise; null where there is none, as while a
  // page gives way to the next one.
  nlohmann::json evaluate(const std::string& expression) {
    const nlohmann::json question = {
        {"id", ++questions_},
        {"method", "Runtime.evaluate"},
        {"params", {{"expression", expression}, {"returnByValue", true}, {"awaitPromise", true}}}};
    socket_->send(question.dump());
    for (;;) {
      const auto message = timeout(20s * kSlowdown, [this] { return socket_->receive(); });
      expect(message.has_value(), "Chromium answers");
      const auto answer = nlohmann::json::parse(message->data);
      if (answer.value("id", 0) != questions_) continue;
      const auto value = nlohmann::json::json_pointer("/result/result/value");
      return answer.contains(value) ? answer[value] : nlohmann::json();
    }
  }
  // Waits until it has a value that is neither null nor false, nor an empty text.
  nlohmann::json wait_for(const std::string& expression) {
    for (int i = 0; i < 2000 * kSlowdown; ++i) {
      nlohmann::json value = evaluate(expression);
      if (!value.is_null() && value != false && value != "") return value;
      sleep(10ms);
    }
    throw ExpectationFailed("never came true: " + expression + " in the page " +
                            evaluate("document.documentElement.outerHTML").dump());
  }
  void close() {
    (void)session_.get(close_url_).read_all();
    socket_->close();
  }

 private:
  http::Session& session_;
  std::unique_ptr<http::WebSocket> socket_;
  std::string close_url_;
  int questions_ = 0;
};

}  // namespace fibrio::browser_test
