// A service as one runs it for real: sessions that a background task cleans up, a cache that another one keeps
// warm, a bounded queue of jobs with its consumers, requests that ask for several things at once, health and
// statistics, and an orderly end when SIGTERM or Ctrl-C comes.
//
//   main.cpp, options            who runs when, and what stops in which order
//   routes                       what can be asked for
//   sessions, catalog, jobs      the parts, each with its own background tasks
//   database                     what is made up
//
//   33_production_service --port 8080        (--help has the rest)
//   curl -c jar -d '{"user": "ann"}' localhost:8080/login
//   curl -b jar -d '{"text": "to be or not"}' localhost:8080/jobs
//   curl -b jar localhost:8080/jobs/1        /report /catalog /stats /healthz /readyz
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <fibrio/fibrio.hpp>
#include <fibrio/http/server.hpp>

#include "options.hpp"
#include "routes.hpp"

namespace {

using service::Options;
using service::Service;

// A connection is an fd, and the usual soft limit of 1024 is there for select().
void raise_fd_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// First who might send more work, then who has it.
void drain(fibrio::http::Server& server, Service& service) {
  service.is_draining.store(true, std::memory_order_relaxed);
  fibrio::sleep(service.options.drain_delay);
  const fibrio::TimePoint deadline = fibrio::get_running_loop().time() + service.options.grace;
  server.shutdown(service.options.grace);
  try {
    service.jobs.finish(deadline);
  } catch (const fibrio::TimeoutError&) {
    std::fprintf(stderr, "production_service: the jobs take longer than the grace period\n");
  }
}

// Serves until the first signal, drains, and ends; a second signal ends it at once.
void run_all(fibrio::http::Server& server, Service& service, fibrio::SignalStream& signals) {
  // If one of these fails the others are cancelled, and run_all throws: better a restart than half a service.
  fibrio::task_group([&](fibrio::TaskGroup& tasks) {
    tasks.create_task({.name = "session cleaner"}, [&] { service.sessions.clean_for_ever(); });
    tasks.create_task({.name = "cache warmer"}, [&] { service.catalog.warm_for_ever(); });
    for (std::size_t i = 0; i < service.options.consumers; ++i)
      tasks.create_task({.name = "consumer " + std::to_string(i)}, [&] { service.jobs.consume(); });
    tasks.create_task({.name = "server"}, [&] { server.serve(); });

    signals.next();
    auto draining = tasks.create_task({.name = "drain"}, [&] { drain(server, service); });
    tasks.create_task({.name = "impatience"}, [&] {
      signals.next();
      draining.cancel();
    });
    draining.wait();
    tasks.cancel();
  });
}

// The exit code: 0 if everything that was accepted was finished.
int serve(const Options& options) {
  Service service(options);
  fibrio::http::Server server({.max_body_bytes = 64 * 1024});
  service::add_routes(server, service);
  fibrio::SignalStream signals{SIGTERM, SIGINT};  // before anybody can know that we are there
  server.listen(fibrio::Address::parse(options.host, options.port));
  std::printf("production_service: http://%s with %zu workers\n", server.addresses()[0].to_string().c_str(),
              fibrio::get_running_loop().workers());
  std::fflush(stdout);

  run_all(server, service, signals);

  const fibrio::http::ServerStats stats = server.stats();
  const auto count = [](std::uint64_t number) { return static_cast<unsigned long long>(number); };
  std::printf("production_service: stopped: %llu requests, %llu dropped; %llu jobs, %llu dropped\n",
              count(stats.requests), count(stats.dropped), count(service.jobs.finished()),
              count(service.jobs.unfinished()));
  return stats.dropped == 0 && service.jobs.unfinished() == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = service::parse_options(argc, argv);
  try {
    raise_fd_limit();
    fibrio::Config config = fibrio::Config::load();
    if (options.workers != 0) config.workers = options.workers;
    return fibrio::run([&] { return serve(options); }, config);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "production_service: %s\n", error.what());
    return 1;
  }
}
