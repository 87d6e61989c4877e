// What: requests through the chaos proxy, as many as one likes, and what became of them; for nights.
//   chaos_load [--requests=1000000] [--seed=1] [--workers=2] [--tls] [--virtual-time]
// Ends with 1 if anything was wrong, and with 2 for arguments that it does not know.
#include <dirent.h>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>

#include "chaos/http_load.hpp"
#include "fibrio/fibrio.hpp"
#include "support/watchdog.hpp"
#ifdef FIBRIO_CHAOS_TLS
#include "chaos/tls.hpp"
#endif

using namespace fibrio;
using namespace std::chrono_literals;

namespace {

struct Settings {
  std::uint64_t requests = 1'000'000;
  std::uint64_t seed = 1;
  std::uint64_t workers = 2;
  bool tls = false;
  bool virtual_time = false;
};

bool read_number(std::string_view argument, std::string_view name, std::uint64_t& number) {
  if (!argument.starts_with(name)) return false;
  argument.remove_prefix(name.size());
  const auto [end, error] = std::from_chars(argument.data(), argument.data() + argument.size(), number);
  return error == std::errc() && end == argument.data() + argument.size() && number > 0;
}

std::size_t open_fds() {
  DIR* directory = ::opendir("/proc/self/fd");
  std::size_t count = 0;
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--tls") {
      settings.tls = true;
    } else if (argument == "--virtual-time") {
      settings.virtual_time = true;
    } else if (!read_number(argument, "--requests=", settings.requests) &&
               !read_number(argument, "--seed=", settings.seed) &&
               !read_number(argument, "--workers=", settings.workers)) {
      std::fprintf(stderr, "chaos_load: what is '%s'?\n", argv[i]);
      return 2;
    }
  }
  Config config;
  config.workers = settings.workers;
  config.virtual_time = settings.virtual_time;
  chaos::HttpLoad load;
  load.faults.seed = settings.seed;
  if (settings.virtual_time) {
    load.pauses_are_long = true;
    load.faults.max_delay = 2s;
    load.faults.max_stall = 20s;
  }
  if (settings.tls) {
#ifdef FIBRIO_CHAOS_TLS
    chaos::speak_tls(load);
#else
    std::fprintf(stderr, "chaos_load: built without TLS\n");
    return 2;
#endif
  }

  chaos::Ledger ledger(settings.requests);
  chaos::ProxyCounts counts;
  test::Watchdog watchdog("chaos_load");
  load.progress = [&watchdog] { watchdog.progress(); };
  const std::size_t fds = open_fds();
  const auto begin = std::chrono::steady_clock::now();
  {
    EventLoop loop(config);
    loop.set_exception_handler([&ledger](EventLoop&, const ExceptionContext& context) {
      ledger.violation("reported: " + context.message);
    });
    watchdog.watch_loop(&loop);
    loop.run_until_complete([&] { counts = chaos::run_http_load(load, ledger); });
    // TLS closes in the background.
    for (int i = 0; i < 60'000 && loop.stats().tasks_alive + loop.stats().fds > 0; ++i) {
      loop.run_until_complete([] { sleep(1ms); });
    }
    watchdog.watch_loop(nullptr);
    const LoopStats left = loop.stats();
    if (left.tasks_alive + left.fds + left.stacks_in_use > 0) {
      ledger.violation(std::to_string(left.tasks_alive) + " tasks, " + std::to_string(left.fds) + " fds, " +
                       std::to_string(left.stacks_in_use) + " stacks are left");
    }
  }
  if (open_fds() != fds) ledger.violation("file descriptors are left open");
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;

  std::cout << "seed " << settings.seed << ", " << settings.workers << " workers"
            << (settings.tls ? ", TLS" : "") << (settings.virtual_time ? ", virtual time" : "") << ", "
            << time.count() << " s\n"
            << ledger.text() << "\nproxy: " << counts.text() << "\n";
  const std::string violations = ledger.violations();
  std::cout << (violations.empty() ? "nothing lost, doubled or corrupted" : violations) << "\n";
  return violations.empty() ? 0 : 1;
}
