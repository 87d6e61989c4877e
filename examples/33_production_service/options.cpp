#include "options.hpp"

#include <CLI/CLI.hpp>
#include <cstdlib>

namespace service {

Options parse_options(int argc, char** argv) {
  Options options;
  CLI::App app("A service with sessions, a cache, a queue of jobs, and an orderly end.");
  app.add_option("--host", options.host, "Address to listen on")->capture_default_str();
  app.add_option("--port", options.port, "Port; 0: the system chooses")->capture_default_str();
  app.add_option("--workers", options.workers, "Workers; 0: FIBRIO_WORKERS, or one per CPU")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--consumers", options.consumers, "Jobs at a time")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--queue", options.queue, "Jobs that may wait; above: 503")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  const auto add_seconds = [&app](const char* name, fibrio::Duration& value, const char* help) {
    using Seconds = std::chrono::duration<double>;
    app.add_option_function<double>(
           name, [&value](double s) { value = std::chrono::duration_cast<fibrio::Duration>(Seconds(s)); },
           help)
        ->check(CLI::Range(0.0, 86'400.0))
        ->type_name("SECONDS")
        ->default_str(CLI::detail::to_string(Seconds(value).count()));
  };
  add_seconds("--session-ttl", options.session_ttl, "How long an unused session lives");
  add_seconds("--lookup-time", options.lookup_time, "What the made-up database takes");
  add_seconds("--drain-delay", options.drain_delay, "Not ready, but serving, before the end begins");
  add_seconds("--grace", options.grace, "For requests and jobs in flight when asked to stop");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return options;
}

}  // namespace service
