// Question: what do HTTP and HTTPS requests, TLS handshakes and files cost a server of fibrio::http and fibrio::tls?
// (performance questions W17, W18 and W19; the load is raw/web_load.cpp, and compare/web.py runs it side by side with
// the peers.) It serves "/", "/kib" (1024 times 'x') and, below "/files/", a folder; with and without TLS.
//
//   server_web --certificate FILE --key FILE --files FOLDER [--port P] [--workers N]
//
// Prints "listening on 127.0.0.1:P" and "TLS on 127.0.0.1:Q".
#include <exception>
#include <string>
#include <utility>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/server.hpp"
#include "fibrio/tls.hpp"
#include "listening.hpp"

namespace {

using fibrio::http::Request;
using fibrio::http::Response;

void add_routes(fibrio::http::Server& server, const std::string& files) {
  server.route("GET", "/", [](Request&) { return Response("Hello, world!\n", "text/plain"); },
               {.quick = true});
  server.route("GET", "/kib", [](Request&) { return Response(std::string(1024, 'x'), "text/plain"); },
               {.quick = true});
  server.files("/files", files);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Listening listening;
  std::string certificate;
  std::string key;
  std::string files;
  bench::Arguments arguments(
      argc, argv, "server_web --certificate FILE --key FILE --files FOLDER [--port P] [--workers N]");
  while (arguments.next()) {
    if (arguments.is("--certificate")) {
      certificate = arguments.value();
    } else if (arguments.is("--key")) {
      key = arguments.value();
    } else if (arguments.is("--files")) {
      files = arguments.value();
    } else if (!listening.take(arguments)) {
      arguments.refuse_unknown();
    }
  }
  if (certificate.empty() || key.empty() || files.empty()) {
    arguments.refuse("--certificate, --key and --files are needed");
  }
  try {
    const auto context = fibrio::tls::Context::server(
        {.certificates = fibrio::tls::Pem::file(certificate), .key = fibrio::tls::Pem::file(key)});
    fibrio::http::Server plain;
    fibrio::http::Server secure({.make_stream = [context](fibrio::TcpStream stream) {
      return fibrio::tls::accept(fibrio::make_byte_stream(std::move(stream)), context);
    }});
    add_routes(plain, files);
    add_routes(secure, files);
    fibrio::run(
        [&] {
          plain.listen(fibrio::Address::parse("127.0.0.1", listening.port));
          secure.listen(fibrio::Address::parse("127.0.0.1", 0));
          bench::say("listening", plain.addresses()[0]);
          bench::say("TLS", secure.addresses()[0]);
          const auto other = fibrio::spawn([&] { secure.serve(); });
          plain.serve();
        },
        listening.config);
  } catch (const std::exception& error) {
    arguments.refuse(error.what());
  }
}
