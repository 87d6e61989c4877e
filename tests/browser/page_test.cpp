// A page with 200 small resources, in Chromium: each is used as what it is, then fetched and compared with its
// SHA-256.
#include <openssl/evp.h>

#include <fstream>
#include <map>
#include <string>
#include <string_view>

#include "browser/browser.hpp"
#include "fibrio/http/server.hpp"
#include "support/catch.hpp"
#include "support/peers.hpp"
#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::browser_test;

namespace {

constexpr int kOfEach = 50;

std::string sha256(std::string_view data) {
  unsigned char digest[32];
  EVP_Digest(data.data(), data.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string text;
  for (const unsigned char byte : digest) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", byte);
    text += hex;
  }
  return text;
}

// One red pixel. What follows the end of a PNG is ignored, so that each file may be another one.
constexpr unsigned char kPixel[] = {0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d,
                                    0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01,
                                    0x08, 0x02, 0x00, 0x00, 0x00, 0x90, 0x77, 0x53, 0xde, 0x00, 0x00, 0x00,
                                    0x0c, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0x00,
                                    0x00, 0x03, 0x01, 0x01, 0x00, 0xc9, 0xfe, 0x92, 0xef, 0x00, 0x00, 0x00,
                                    0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

// By their paths. Four kinds, four ways to serve them; from a hundred bytes to 40 KB.
struct Site {
  std::map<std::string, std::string> resources;
  std::string page;

  Site() {
    std::string head, body, sums;
    for (int i = 0; i < kOfEach; ++i) {
      const std::string n = std::to_string(i);
      const std::string padding(static_cast<std::size_t>(i * i * 16), static_cast<char>('a' + i % 26));
      add("/files/" + n + ".css", ":root { --c" + n + ": " + n + "; } /* " + padding + " */\n");
      add("/files/" + n + ".png",
          std::string(reinterpret_cast<const char*>(kPixel), sizeof kPixel) + n + padding);
      add("/js/" + n, "window.scripts = (window.scripts || 0) + 1; // " + n + padding + "\n");
      add("/json/" + n, R"({"n": )" + n + R"(, "text": ")" + padding + "\"}\n");
      head += "<link rel=stylesheet href=/files/" + n + ".css>";
      body += "<img src=/files/" + n + ".png><script async src=/js/" + n + "></script>";
    }
    for (const auto& [path, data] : resources) sums += "'" + path + "': '" + sha256(data) + "',\n";
    page = "<!doctype html><title></title>" + head + "<body>" + body + "<script>const sums = {" + sums +
           "};" + kScript + "</script>";
  }

 private:
  static constexpr const char* kScript = R"js(
const numbers = [...Array(50).keys()];
async function check() {
  const style = getComputedStyle(document.documentElement);
  const images = [...document.images].filter(image => image.complete && image.naturalWidth == 1).length;
  const sheets = numbers.filter(n => style.getPropertyValue('--c' + n).trim() == n).length;
  const objects = await Promise.all(numbers.map(async n => (await (await fetch('/json/' + n)).json()).n == n));
  const right = await Promise.all(Object.keys(sums).map(async path => {
    const answer = await fetch(path, {cache: 'no-store'});
    const sum = await crypto.subtle.digest('SHA-256', await answer.arrayBuffer());
    return [...new Uint8Array(sum)].map(byte => byte.toString(16).padStart(2, '0')).join('') == sums[path];
  }));
  const count = list => list.filter(Boolean).length;
  return [images, sheets, window.scripts, count(objects), count(right)].join(' ');
}
onload = () => check().then(text => { document.title = text; }, error => { document.title = 'failed: ' + error; });
)js";

  void add(const std::string& path, std::string data) { resources[path] = std::move(data); }
};

void load_in_chromium(const std::string& scheme, const http::ServerOptions& options) {
  fibrio::test::need_program("chromium");
  const Browser browser;
  const Site site;
  const fibrio::test::TempFolder folder;
  for (const auto& [path, data] : site.resources) {
    if (path.starts_with("/files/")) std::ofstream(folder / path.substr(7), std::ios::binary) << data;
  }
  for (const LoopShape shape : {LoopShape{1, false}, LoopShape{2, false}, LoopShape{4, true}}) {
    on_loop(shape, [&] {
      http::Server server(options);
      server.files("/files", folder.path());
      server.route("GET", "/", [&](http::Request&) { return http::Response(site.page, "text/html"); });
      server.route("GET", "/json/{n}", [&](http::Request& request) {
        return http::Response(site.resources.at(std::string(request.path())), "application/json");
      });
      server.route("GET", "/js/{n}", [&](http::Request& request) {
        http::Response response;
        response.fields.set_content_type("text/javascript");
        response.stream = [&text = site.resources.at(std::string(request.path()))](http::BodyWriter& out) {
          for (std::size_t at = 0; at < text.size(); at += 1000) {  // chunks
            out.write(std::string_view(text).substr(at, 1000));
            out.flush();
          }
        };
        return response;
      });
      server.listen(loopback());
      auto serving = create_task([&] { server.serve(); });
      {
        http::Session session;
        Tab tab(session, browser, scheme + "://" + server.addresses()[0].to_string() + "/");
        const std::string found = tab.wait_for("document.title").get<std::string>();
        expect(found == "50 50 50 50 200", "images, sheets, scripts, objects, sums: " + found);
        tab.close();
      }
      const http::ServerStats stats = server.stats();
      expect(stats.requests >= 401, std::to_string(stats.requests) + " requests");
      expect(stats.accepted <= 50, "kept connections, not " + std::to_string(stats.accepted));
      server.shutdown(5s);
      await(serving);
      expect_equal(server.stats().dropped, 0, "dropped");
    });
  }
}

}  // namespace

TEST_CASE("Chromium loads a page with 200 resources, each as it was sent", "[browser]") {
  load_in_chromium("http", {});
}

TEST_CASE("Chromium loads a page with 200 resources over TLS", "[browser]") {
  http::ServerOptions options;
  options.make_stream = [context = tls::Context::server(tls_test::server_options())](
                            TcpStream stream) -> std::unique_ptr<ByteStream> {
    return tls::accept(make_byte_stream(std::move(stream)), context);
  };
  load_in_chromium("https", options);
}
