// What: a process that runs out of address space for stacks says so task by task, and goes on.
#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <new>
#include <string>
#include <utility>
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

TEST_CASE("What the captures of a task without a stack start eagerly as they go starts a little later",
          "[memory_limit]") {
  if (kAnySanitizer) return;
  struct Starter {
    explicit Starter(int& its_runs) : runs(&its_runs) {}
    Starter(Starter&& other) noexcept : runs(std::exchange(other.runs, nullptr)) {}
    ~Starter() {
      if (runs == nullptr) return;
      fibrio::spawn({.eager_start = true}, [count = runs] {
        fibrio::yield();
        ++*count;
      });
    }
    int* runs;
  };
  for (const std::size_t workers : {1, 2, 4}) {
    for (const bool is_eager : {false, true}) {
      INFO(workers << " workers, " << is_eager);
      const ChildResult result = run_in_child([workers, is_eager] {
        fibrio::run(
            [is_eager] {
              // Stacks for what the destructors start.
              for (int i = 0; i < 4; ++i) fibrio::await(fibrio::create_task([] { fibrio::yield(); }));
              int runs = 0;
              rlimit limit{};
              ::getrlimit(RLIMIT_AS, &limit);
              rlimit low = limit;
              low.rlim_cur = 1;
              if (::setrlimit(RLIMIT_AS, &low) != 0) std::abort();
              const auto large = fibrio::create_task({.stack_size = 64u << 20, .eager_start = is_eager},
                                                     [starter = Starter(runs)] {});
              fibrio::yield();
              ::setrlimit(RLIMIT_AS, &limit);
              while (runs == 0) fibrio::sleep(1ms);
              try {
                fibrio::await(large);
              } catch (const std::bad_alloc&) {
                std::fprintf(stderr, "failed, %d", runs);
              }
            },
            fibrio::Config{.workers = workers, .stack_size = 65536});
      });
      INFO(result.errors);
      CHECK(result.signal == 0);
      CHECK(result.errors == "failed, 1");
    }
  }
}
