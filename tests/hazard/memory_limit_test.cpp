// What: a process that runs out of address space for stacks says so task by task, and goes on.
#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <new>
#include <string>
#include <vector>

#include "support/process.hpp"
#include "support/setups.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

std::size_t mapped_bytes() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

// Seen as: std::terminate, when thousands of tasks fail and there is no memory for an exception each.
TEST_CASE("Tasks without stacks end with the error that says so, however many, and the loop goes on",
          "[memory_limit]") {
  if (kAnySanitizer) return;  // they need more address space than there would be
  for (const std::size_t workers : {1, 2, 4}) {
    INFO(workers << " workers");
    const ChildResult result = run_in_child([workers] {
      constexpr std::size_t kTasks = 3000;
      constexpr std::size_t kMiB = 1024 * 1024;
      fibrio::run(
          [&] {
            const auto limit = static_cast<rlim_t>(mapped_bytes() + 256 * kMiB);
            const rlimit low{limit, limit};
            if (::setrlimit(RLIMIT_AS, &low) != 0) std::abort();
            std::size_t failed = 0;
            std::size_t created = 0;
            std::string text;
            std::vector<fibrio::Task<>> tasks;
            try {
              tasks.reserve(kTasks);
              for (; created < kTasks; ++created) {
                tasks.push_back(fibrio::create_task([] { fibrio::sleep(100ms); }));
              }
            } catch (const std::bad_alloc&) {  // no memory for the task itself: its creator is told
            }
            for (const fibrio::Task<>& task : tasks) {
              try {
                fibrio::await(task);
              } catch (const std::bad_alloc& error) {
                if (failed++ == 0) text = error.what();
              }
            }
            tasks.clear();
            // Stacks are there again.
            const int answer = fibrio::await(fibrio::create_task([] {
              fibrio::yield();
              return 42;
            }));
            std::fprintf(stderr, "%s %s %d", failed > 0 ? "some" : "none", text.c_str(), answer);
          },
          fibrio::Config{.workers = workers});
    });
    INFO(result.errors);
    CHECK(result.signal == 0);
    CHECK(result.exit_code == 0);
    CHECK(result.errors.find("some no memory for a stack of 256 KiB") == 0);
    CHECK(result.errors.find(" 42") != std::string::npos);
  }
}
