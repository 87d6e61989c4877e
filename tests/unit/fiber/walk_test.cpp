// The stack of a fiber that does not run, read from outside.
#include "fiber/walk.hpp"

#include <algorithm>
#include <thread>
#include <vector>

#include "fiber/stack_cache.hpp"
#include "support/catch.hpp"

using namespace fibrio::detail;

namespace {

struct Slot : SwitchSlot {
  Fiber main;
  Fiber fiber;
  Fiber dead;
};

[[gnu::noinline]] void stop(Slot& slot) {
  static_cast<void>(switch_fiber(slot, slot.fiber, slot.main));
  asm volatile("");
}
int stop_below(Slot& slot, int depth);
int (*volatile call_again)(Slot& slot, int depth) = &stop_below;  // a call that is not inlined

// Keeps something in every register that a call preserves, so that the walk must find all of them.
int stop_below(Slot& slot, int depth) {
  if (depth == 0) {
    stop(slot);
    return 0;
  }
  volatile int seen[4] = {depth, depth * 2, depth * 3, depth * 4};
  const int a = seen[0];
  const int b = seen[1];
  const int c = seen[2];
  const int d = seen[3];
  const int below = call_again(slot, depth - 1);
  return below + a + b + c + d;
}
void entry(SwitchSlot& its_slot) noexcept {
  auto& slot = static_cast<Slot&>(its_slot);
  call_again(slot, 5);
  switch_fiber_for_good(slot, slot.dead, slot.main);
}

// How often a function is on a stack.
std::ptrdiff_t count(const std::vector<Return>& stack, const void* function) {
  return std::count_if(stack.begin(), stack.end(),
                       [&](const Return& each) { return each.function == begin_of(function); });
}
std::vector<Return> walk(const Fiber& fiber, std::size_t capacity = 64) {
  std::vector<Return> returns(capacity);
  returns.resize(walk_saved(fiber, returns.data(), capacity));
  return returns;
}

}  // namespace

TEST_CASE("The stack of a suspended fiber can be read from any thread, and it goes on as before", "[walk]") {
  StackPool pool;
  StackFailure failure;
  Stack* stack = pool.try_acquire(64 * 1024, failure);
  REQUIRE(stack != nullptr);
  Slot slot;
  slot.entry = &entry;
  slot.is_alone = true;
  slot.exceptions = exceptions_of_this_thread();
  slot.main.adopt_thread();
  slot.fiber.prepare(*stack);
  CHECK(walk(slot.fiber).empty());  // it never ran
  static_cast<void>(switch_fiber(slot, slot.main, slot.fiber));

  const std::vector<Return> here = walk(slot.fiber);
  REQUIRE(here.size() >= 7);
  CHECK(here[0].function == begin_of(reinterpret_cast<const void*>(&stop)));
  CHECK(count(here, reinterpret_cast<const void*>(&stop_below)) == 6);
  CHECK(count(here, reinterpret_cast<const void*>(&entry)) == 1);
  std::size_t elsewhere = 0;
  std::thread([&] { elsewhere = walk(slot.fiber).size(); }).join();
  CHECK(elsewhere == here.size());
  const std::vector<Return> cut = walk(slot.fiber, 3);
  REQUIRE(cut.size() == 3);
  CHECK(cut[2].address == here[2].address);

  static_cast<void>(switch_fiber(slot, slot.main, slot.fiber));
  Fiber::retire(slot.fiber.remains());
  pool.release(stack);
}

TEST_CASE("The caller's own stack begins with the caller", "[walk]") {
  struct Here {
    [[gnu::noinline]] static std::size_t walk(Return* returns) {
      const std::size_t count = walk_here(returns, 8);
      asm volatile("");
      return count;
    }
  };
  Return returns[8];
  const std::size_t count = Here::walk(returns);
  REQUIRE(count > 1);
  CHECK(returns[0].function == begin_of(reinterpret_cast<const void*>(&Here::walk)));
}
