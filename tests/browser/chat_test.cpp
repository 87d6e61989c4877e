// The example 31_chat, in two browsers.
#include <cstdlib>
#include <string>

#include "browser/browser.hpp"
#include "support/catch.hpp"
#include "support/peers.hpp"

using namespace fibrio;
using namespace fibrio::browser_test;

TEST_CASE("What is typed into the chat in one Chromium appears in another one", "[browser]") {
  fibrio::test::need_program("chromium");
  const char* const path = std::getenv("FIBRIO_CHAT");
  if (path == nullptr) fibrio::test::skip("the example 31_chat is not built");
  const Browser ann_browser;
  const Browser bob_browser;
  Program chat({path, "0"});
  const std::string started = chat.read_to("chat: http");
  REQUIRE(started.starts_with("chat: http://"));
  const std::string url = started.substr(6);

  on_loop({2, false}, [&] {
    http::Session session;
    const auto hears = [](Tab& tab, const std::string& line) {
      tab.wait_for("[...document.querySelectorAll('#log li')].some(li => li.textContent === " +
                   nlohmann::json(line).dump() + ")");
    };
    const auto type = [](Tab& tab, const std::string& line) {
      tab.evaluate("line.value = " + nlohmann::json(line).dump() + "; form.requestSubmit(); true");
    };
    Tab ann(session, ann_browser, url);
    hears(ann, "browser comes");
    Tab bob(session, bob_browser, url);
    hears(bob, "browser comes");

    type(ann, "hello, whoever is there");
    hears(bob, "browser: hello, whoever is there");
    const std::string greeting = "příliš žluťoučký kůň 🐎 <b>&amp;</b>";
    type(bob, greeting);
    hears(ann, "browser: " + greeting);
    const std::string article(100'000, 'x');  // several TCP segments, a length of 64 bits
    type(ann, article);
    hears(bob, "browser: " + article);

    bob.close();
    hears(ann, "browser leaves");
    // Each line came once, and in its order.
    const auto lines = ann.evaluate("[...document.querySelectorAll('#log li')].map(li => li.textContent)");
    expect(lines == nlohmann::json({"browser comes", "browser comes", "browser: hello, whoever is there",
                                    "browser: " + greeting, "browser: " + article, "browser leaves"}),
           "what there is to hear, in: " + lines.dump().substr(0, 1000));
    ann.close();
  });
}
