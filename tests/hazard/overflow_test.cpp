// A task that outgrows its stack dies by SIGSEGV with a report that names it; each case dies in a child.
// Under AddressSanitizer the report is that of the tool.
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "support/process.hpp"
#include "support/setups.hpp"

using namespace fibrio::test;

namespace {

constexpr std::size_t kKiB = 1024;

volatile int sink = 0;

template <std::size_t kFrameBytes>
[[gnu::noinline]] int recurse(int depth) {
  volatile char frame[kFrameBytes];
  frame[0] = static_cast<char>(depth);
  asm volatile("" : : "r"(&frame[0]) : "memory");  // all of it is there: clang would take it apart
  const int below = depth == 0 ? 0 : recurse<kFrameBytes>(depth - 1);
  return below + frame[0];
}
constexpr int kForEver = 1'000'000;

// Catch2 has its own handlers while a test runs.
void drop_handlers() {
  if (kAddressSanitizer) return;
  ::signal(SIGSEGV, SIG_DFL);
  ::signal(SIGBUS, SIG_DFL);
}

ChildResult overflow(const Setup& setup, std::size_t stack_size, int (*body)(int), int depth = kForEver) {
  return run_in_child([&] {
    drop_handlers();
    run_with(setup, [&] {
      // Neighbours on both sides, with frames of their own.
      auto below = fibrio::create_task([] { fibrio::sleep(std::chrono::hours(1)); });
      fibrio::TaskOptions options;
      options.name = "greedy";
      options.stack_size = stack_size;
      fibrio::await(fibrio::create_task(options, [&] {
        fibrio::yield();  // with forced migration: on another worker's altstack
        sink = body(depth);
      }));
      below.cancel();
    });
  });
}

void check_report(const ChildResult& child, const std::string& size) {
  CAPTURE(child.errors);
  if (kAddressSanitizer) {
    CHECK(child.exit_code != 0);
    CHECK_THAT(child.errors, Catch::Contains("stack-overflow"));
    return;
  }
  CHECK_THAT(child.errors, Catch::Contains("fibrio: stack overflow in task 'greedy' (" + size));
  CHECK_THAT(child.errors, Catch::Contains("TaskOptions::stack_size"));
  if (!kThreadSanitizer) CHECK(child.signal == SIGSEGV);
}

}  // namespace

TEST_CASE("A task that recurses too deep dies by SIGSEGV with its name in the report", "[overflow]") {
  with_all_setups([](const Setup& setup) { check_report(overflow(setup, 0, recurse<64>), "256 KiB"); });
}

TEST_CASE("Frames as large as 48 KiB and 100 KiB do not jump over the guard", "[overflow]") {
  if (kThreadSanitizer) return;  // clang's TSan probes no frames
  with_all_setups([](const Setup& setup) {
    check_report(overflow(setup, 0, recurse<48 * kKiB>), "256 KiB");
    check_report(overflow(setup, 0, recurse<100 * kKiB>), "256 KiB");
    check_report(overflow(setup, 64 * kKiB, recurse<100 * kKiB>), "64 KiB");
  });
}

TEST_CASE("TaskOptions::stack_size is what a task has", "[overflow]") {
  const Setup setup{2, false};
  // 600 KiB of frames: fit into 1 MiB, not into 512 KiB.
  constexpr int kDepth = 600;
  constexpr std::size_t kFactor = kAddressSanitizer ? 2 : 1;  // it pads frames
  const auto fits = overflow(setup, kFactor * 1024 * kKiB, recurse<kKiB>, kDepth);
  CAPTURE(fits.errors);
  CHECK(fits.exit_code == 0);
  check_report(overflow(setup, 512 * kKiB, recurse<kKiB>, kDepth), "512 KiB");
  check_report(overflow(setup, 16 * kKiB, recurse<kKiB>, kDepth), "16 KiB");
}

TEST_CASE("A stack size out of range is refused with the range", "[overflow]") {
  const Setup setup{1, false};
  run_with(setup, [] {
    for (const std::size_t size : {std::size_t{1}, 16 * kKiB - 1, 64 * kKiB * kKiB + 1}) {
      fibrio::TaskOptions options;
      options.stack_size = size;
      CHECK_THROWS_WITH(fibrio::create_task(options, [] {}), Catch::Contains("16 KiB"));
    }
  });
}

TEST_CASE("Config::stack_size is what every task has", "[overflow]") {
  if (kAnySanitizer) return;  // frames are larger there
  constexpr int kDepth = 600;
  for (const std::size_t workers : {1U, 2U}) {
    fibrio::Config config;
    config.workers = workers;
    config.stack_size = 1024 * kKiB;
    fibrio::run([] { sink = recurse<kKiB>(kDepth); }, config);
    const auto child = run_in_child([&] {
      drop_handlers();
      config.stack_size = 128 * kKiB;
      fibrio::run([] { sink = recurse<kKiB>(kDepth); }, config);
    });
    CAPTURE(child.errors);
    CHECK(child.signal == SIGSEGV);
    CHECK_THAT(child.errors, Catch::Contains("(128 KiB usable"));
  }
}

TEST_CASE("A wild pointer in a task is no stack overflow", "[overflow]") {
  if (kAnySanitizer) return;
  const auto child = run_in_child([] {
    drop_handlers();
    fibrio::run([] {
      volatile std::uintptr_t nowhere = 8;
      *reinterpret_cast<volatile int*>(nowhere) = 1;
    });
  });
  CHECK(child.signal == SIGSEGV);
  CHECK_THAT(child.errors, !Catch::Contains("stack overflow"));
}

TEST_CASE("An overflow is reported after the loop that was made first is gone", "[overflow]") {
  const auto child = run_in_child([] {
    drop_handlers();
    fibrio::run([] {});
    fibrio::run([] {
      fibrio::TaskOptions options;
      options.name = "greedy";
      fibrio::await(fibrio::create_task(options, [] { sink = recurse<64>(kForEver); }));
    });
  });
  check_report(child, "256 KiB");
}
