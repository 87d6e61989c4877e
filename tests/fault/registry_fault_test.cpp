// The fence between tasks that end and who lists them, where the system refuses it.
#include <cerrno>
#include <thread>
#include <vector>

#include <fibrio/fibrio.hpp>

#include "support/faults.hpp"
#include "support/net_loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

TEST_CASE("all_tasks is right also once membarrier is refused", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::membarrier> membarrier;
  membarrier.arm(-EPERM, {.times = kAlways});
  on_loops([] {
    EventLoop& loop = get_running_loop();
    for (int round = 0; round < 20; ++round) {
      Event go;
      std::vector<Task<>> kept;
      for (int i = 0; i < 10; ++i) kept.push_back(create_task({.name = "kept"}, [&go] { go.wait(); }));
      std::vector<Task<>> others;
      for (int i = 0; i < 10; ++i) others.push_back(create_task([] { yield(); }));
      int listed = 0;
      for (const AnyTask& task : all_tasks()) listed += task.get_name() == "kept" ? 1 : 0;
      expect_equal(listed, 10, "tasks");
      go.set();
      for (auto& task : others) await(task);
      for (auto& task : kept) await(task);
    }
    expect_equal(loop.stats().tasks_alive, std::size_t{1}, "tasks left");
  });
  // Asked once, and then no more. ThreadSanitizer's builds never ask.
  CHECK(membarrier.hits() == (kThreadSanitizer ? 0 : 1));
}
