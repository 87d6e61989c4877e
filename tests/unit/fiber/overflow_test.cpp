// Each case dies in a child. Needs -fstack-clash-protection for the large frames and -fno-omit-frame-pointer
// for the frames in the report, as the library asks of its users.
#include "fiber/overflow.hpp"

#include <algorithm>
#include <boost/context/detail/fcontext.hpp>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/syscalls.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace fibrio::detail;
using fibrio::test::run_in_child;
namespace context = boost::context::detail;

namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kStack = 256 * kKiB;

volatile int sink = 0;

template <std::size_t kFrameBytes>
[[gnu::noinline]] int recurse(int depth) {
  volatile char frame[kFrameBytes];
  frame[0] = static_cast<char>(depth);
  int below = depth == 0 ? 0 : recurse<kFrameBytes>(depth - 1);
  return below + frame[0];
}

constexpr int kForEver = 1'000'000;

struct Fiber {
  void (*body)(Stack&);
  Stack* stack;
};

void enter(context::transfer_t from) {
  auto* fiber = static_cast<Fiber*>(from.data);
  fiber->body(*fiber->stack);
  context::jump_fcontext(from.fctx, nullptr);
}

void run_on(Stack& stack, void (*body)(Stack&)) {
  Fiber fiber{body, &stack};
  auto size = static_cast<std::size_t>(stack.start() - stack.low);
  context::jump_fcontext(context::make_fcontext(stack.start(), size, enter), &fiber);
}

std::size_t name_of_running(char* buffer, std::size_t size) noexcept {
  constexpr char kName[] = "greedy";
  std::size_t bytes = std::min(size, sizeof kName - 1);
  std::memcpy(buffer, kName, bytes);
  return bytes;
}

// Catch2 has its own handlers while a test runs.
void drop_handlers() {
  ::signal(SIGSEGV, SIG_DFL);
  ::signal(SIGBUS, SIG_DFL);
}

fibrio::test::ChildResult overflow_with(void (*body)(Stack&), std::size_t bytes = kStack) {
  return run_in_child([&] {
    drop_handlers();
    StackPool pool;
    OverflowWatch watch(pool);
    const AltStackMemory alt_stack_memory;
    const AltStack alt_stack(alt_stack_memory);
    set_name_of_running(name_of_running);
    // Not the lowest of its slab: a frame that jumps over the guard would land in a neighbour.
    Stack* lower = pool.acquire(bytes);
    Stack* stack = pool.acquire(bytes);
    run_on(*stack, body);
    pool.release(stack);
    pool.release(lower);
  });
}

}  // namespace

TEST_CASE("A stack overflow ends the process with the task's name and advice", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;  // it reports by itself
  void (*body)(Stack&) = GENERATE(
      +[](Stack& stack) { *static_cast<volatile std::byte*>(stack.low - 64) = std::byte{1}; },
      +[](Stack&) { sink = recurse<64>(kForEver); }, +[](Stack&) { sink = recurse<48 * kKiB>(kForEver); },
      +[](Stack&) { sink = recurse<100 * kKiB>(kForEver); });
  auto child = overflow_with(body);
  CAPTURE(child.errors);
  CHECK(child.signal == SIGSEGV);
  CHECK_THAT(child.errors,
             Catch::Contains("fibrio: stack overflow in task 'greedy' (256 KiB usable, address 0x"));
  CHECK_THAT(child.errors, Catch::Contains("TaskOptions::stack_size"));
  CHECK_THAT(child.errors, Catch::Contains("FIBRIO_STACK_SIZE"));
  CHECK_THAT(child.errors, Catch::Contains("\n  #0 0x") && Catch::Contains("(program + 0x"));
}

TEST_CASE("A stack overflow report has at most 16 callers", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;
  auto child = overflow_with(+[](Stack&) { sink = recurse<64>(kForEver); });
  CHECK_THAT(child.errors, !Catch::Contains("#17 "));
}

TEST_CASE("A stack overflow is reported with mprotect guards, too", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;
  auto child = run_in_child([] {
    drop_handlers();
    fibrio::sys::syscalls.madvise = [](void*, std::size_t, int) { return -EINVAL; };
    StackPool pool;
    OverflowWatch watch(pool);
    const AltStackMemory alt_stack_memory;
    const AltStack alt_stack(alt_stack_memory);
    run_on(*pool.acquire(64 * kKiB), [](Stack&) { sink = recurse<1000>(kForEver); });
  });
  CHECK(child.signal == SIGSEGV);
  CHECK_THAT(child.errors, Catch::Contains("(64 KiB usable"));
}

TEST_CASE("A fiber that stays inside its stack is left alone", "[overflow]") {
  auto child = overflow_with(+[](Stack&) { sink = recurse<1024>(20); });
  CAPTURE(child.errors);
  CHECK(child.exit_code == 0);
}

TEST_CASE("A stray access to another's guard is not called an overflow", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;
  auto child = run_in_child([] {
    drop_handlers();
    StackPool pool;
    OverflowWatch watch(pool);
    *static_cast<volatile std::byte*>(pool.acquire(kStack)->low - 1) = std::byte{1};
  });
  CHECK(child.signal == SIGSEGV);
  CHECK(child.errors.find("overflow") == std::string::npos);
}

TEST_CASE("A fault that is not ours goes to the handler that was there", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;
  auto child = run_in_child([] {
    ::signal(SIGSEGV, [](int) { ::_exit(42); });
    StackPool pool;
    OverflowWatch watch(pool);
    volatile std::uintptr_t nowhere = 8;
    *reinterpret_cast<volatile int*>(nowhere) = 1;
  });
  CHECK(child.exit_code == 42);
}

TEST_CASE("A fault after an overflow report goes to the handler that was there", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;
  auto child = run_in_child([] {
    struct sigaction action {};
    action.sa_handler = [](int) { ::_exit(43); };
    action.sa_flags = SA_ONSTACK;
    ::sigaction(SIGSEGV, &action, nullptr);
    StackPool pool;
    OverflowWatch watch(pool);
    const AltStackMemory alt_stack_memory;
    const AltStack alt_stack(alt_stack_memory);
    run_on(*pool.acquire(kStack), [](Stack&) { sink = recurse<1000>(kForEver); });
  });
  CHECK(child.exit_code == 43);
  CHECK_THAT(child.errors, Catch::Contains("stack overflow in task ''"));
}

TEST_CASE("A SIGSEGV that a process sends still kills", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;
  auto child = run_in_child([] {
    drop_handlers();
    StackPool pool;
    OverflowWatch watch(pool);
    ::kill(::getpid(), SIGSEGV);
  });
  CHECK(child.signal == SIGSEGV);
}

TEST_CASE("OverflowWatch puts the former handler back with the last watch", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;
  struct sigaction before {};
  struct sigaction during {};
  struct sigaction after {};
  ::sigaction(SIGSEGV, nullptr, &before);
  {
    StackPool first;
    StackPool second;
    OverflowWatch watch_first(first);
    { OverflowWatch watch_second(second); }
    ::sigaction(SIGSEGV, nullptr, &during);
  }
  ::sigaction(SIGSEGV, nullptr, &after);
  CHECK(during.sa_sigaction != before.sa_sigaction);
  CHECK(after.sa_sigaction == before.sa_sigaction);
}

TEST_CASE("AltStack puts the thread's former one back", "[overflow]") {
  if (fibrio::test::kAddressSanitizer) return;
  stack_t before{};
  stack_t during{};
  stack_t after{};
  ::sigaltstack(nullptr, &before);
  {
    const AltStackMemory alt_stack_memory;
    const AltStack alt_stack(alt_stack_memory);
    ::sigaltstack(nullptr, &during);
  }
  ::sigaltstack(nullptr, &after);
  CHECK(during.ss_size >= 32 * kKiB);
  CHECK(during.ss_sp != before.ss_sp);
  CHECK(after.ss_sp == before.ss_sp);
  CHECK(after.ss_flags == before.ss_flags);
}
