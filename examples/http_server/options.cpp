#include "options.hpp"

#include <CLI/CLI.hpp>
#include <cstdlib>

namespace http_server {

namespace {

using std::chrono::nanoseconds;

// Seconds with a fraction, as people write them.
void add_seconds(CLI::App& app, const std::string& name, nanoseconds& value, const std::string& help) {
  const double standard = std::chrono::duration<double>(value).count();
  app.add_option_function<double>(
         name,
         [&value](double seconds) {
           value = std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(seconds));
         },
         help)
      ->check(CLI::Range(0.001, 86'400.0))
      ->type_name("SECONDS")
      ->default_str(CLI::detail::to_string(standard));
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  std::string accept = "shared";

  CLI::App app("An HTTP/1.1 server on fibrio: a task per connection, plain blocking-looking code.");
  app.add_option("--host", options.host, "Address to listen on")->envname("HTTP_HOST")->capture_default_str();
  app.add_option("--port", options.port, "Port; 0: the system chooses")
      ->envname("HTTP_PORT")
      ->capture_default_str();
  app.add_option("--workers", options.workers, "Workers; 0: FIBRIO_WORKERS, the file, or one per CPU")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--config", options.config, "TOML file with fibrio's settings (else FIBRIO_CONFIG)")
      ->check(CLI::ExistingFile);
  app.add_option("--accept", accept, "One listener for all workers (shared) or one each (reuseport)")
      ->check(CLI::IsMember({"shared", "reuseport"}))
      ->capture_default_str();
  app.add_option("--max-connections", options.server.max_connections, "Connections at a time; above: 503")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  app.add_option("--max-header", options.server.max_header_bytes, "Bytes of a request's header; above: 431")
      ->check(CLI::Range(256, 1024 * 1024))
      ->capture_default_str();
  app.add_option("--max-body", options.server.max_body_bytes, "Bytes of a request's body; above: 413")
      ->check(CLI::Range(0, 1024 * 1024 * 1024))
      ->capture_default_str();
  add_seconds(app, "--header-timeout", options.server.header_timeout, "For a whole header; then 408");
  add_seconds(app, "--body-timeout", options.server.body_timeout, "For a whole body; then 408");
  add_seconds(app, "--idle-timeout", options.server.idle_timeout,
              "For a kept-alive connection between requests");
  add_seconds(app, "--write-timeout", options.server.write_timeout, "For a peer to take our answer");
  add_seconds(app, "--grace", options.grace, "For requests in flight when asked to stop");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  options.accept = accept == "shared" ? AcceptMode::kShared : AcceptMode::kReusePort;
  return options;
}

}  // namespace http_server
