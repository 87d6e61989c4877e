#include "fiber/stack_pool.hpp"

#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "fiber/stack_cache.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace fibrio::detail;
using fibrio::test::count_mappings;
using fibrio::test::kAnySanitizer;
using fibrio::test::resident_bytes;

namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;
constexpr std::size_t kStack = 256 * kKiB;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr StackPoolOptions kSmallSlabs{.slab_bytes = 2 * kMiB};  // 6 stacks of 256 KiB

void touch(Stack& stack, std::size_t bytes) {
  std::memset(stack.start() - bytes, 1, bytes);  // start is aligned, the rest is ours
}

}  // namespace

TEST_CASE("Stack size classes are the powers of two from 16 KiB to 64 MiB", "[stack]") {
  CHECK(stack_class_of(0) == 0);
  CHECK(stack_class_of(16 * kKiB) == 0);
  CHECK(stack_class_of(16 * kKiB + 1) == 1);
  CHECK(stack_class_bytes(stack_class_of(200'000)) == kStack);
  CHECK(stack_class_bytes(stack_class_of(64 * kMiB)) == 64 * kMiB);
  CHECK(stack_class_of(64 * kMiB + 1) == kStackClasses);
}

TEST_CASE("StackPool gives writable stacks of any size class", "[stack_pool]") {
  StackPool pool;
  std::vector<Stack*> taken;
  for (std::size_t bytes = 16 * kKiB; bytes <= 64 * kMiB; bytes *= 2) {
    Stack* stack = pool.acquire(bytes - 100);
    CHECK(stack->usable_bytes() == bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(stack->start()) % 64 == 0);
    touch(*stack, 4 * kKiB);
    *stack->low = std::byte{1};
    taken.push_back(stack);
  }
  CHECK(pool.stats().in_use == taken.size());
  for (Stack* stack : taken) pool.release(stack);
  CHECK(pool.stats().in_use == 0);
}

TEST_CASE("StackPool refuses a size beyond the largest with advice", "[stack_pool]") {
  StackPool pool;
  CHECK_THROWS_WITH(pool.acquire(65 * kMiB), Catch::Contains("64 MiB"));
  StackCache cache(pool);
  CHECK_THROWS_AS(cache.acquire(65 * kMiB), std::bad_alloc);
}

TEST_CASE("StackPool reuses the last stack that came back", "[stack_pool]") {
  StackPool pool;
  Stack* first = pool.acquire(kStack);
  Stack* second = pool.acquire(kStack);
  pool.release(first);
  pool.release(second);
  CHECK(pool.acquire(kStack) == second);
  CHECK(pool.acquire(kStack) == first);
  pool.release(first);
  pool.release(second);
}

TEST_CASE("StackCache reuses the last stack that came back, across overflow and refill", "[stack_cache]") {
  StackPool pool;
  StackCache cache(pool);
  std::vector<Stack*> taken;
  for (int i = 0; i < 100; ++i) taken.push_back(cache.acquire(kStack));
  CHECK(pool.stats().in_use == 100);
  for (Stack* stack : taken) cache.release(stack);
  CHECK(pool.stats().in_use == 0);
  CHECK(cache.cached() <= 32);
  CHECK(pool.stats().cached == cache.cached());
  for (std::size_t i = 0; i < cache.cached(); ++i) CHECK(cache.acquire(kStack) == taken[99 - i]);
  std::size_t out = pool.stats().in_use;
  for (std::size_t i = 0; i < out; ++i) cache.release(taken[99 - i]);
}

TEST_CASE("Stacks start at 16 colours below one KiB", "[stack_pool]") {
  StackPool pool;
  std::set<std::ptrdiff_t> offsets;
  std::vector<Stack*> taken;
  for (int i = 0; i < 64; ++i) {
    taken.push_back(pool.acquire(kStack));
    offsets.insert(taken.back()->top - taken.back()->start());
  }
  CHECK(offsets.size() == 16);
  CHECK(*offsets.rbegin() < 1024);
  for (Stack* stack : taken) pool.release(stack);
}

TEST_CASE("StackPool makes 100,000 guarded stacks of few mappings", "[stack_pool]") {
  const std::size_t count = kAnySanitizer ? 5'000 : 100'000;
  StackPool pool;
  if (pool.stats().guard != GuardKind::kMadvise) {
    WARN("this kernel has no MADV_GUARD_INSTALL");
    return;
  }
  std::size_t mappings = count_mappings();
  std::size_t resident = resident_bytes();
  StackCache cache(pool);
  std::vector<Stack*> taken;
  taken.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    taken.push_back(cache.acquire(kStack));
    touch(*taken.back(), 2 * kKiB);
  }
  // One page of stack each; what the library adds for a stack stays below 64 bytes.
  if (!kAnySanitizer) CHECK(resident_bytes() - resident < count * (4096 + 64) + 2 * kMiB);
  // A slab is 204 stacks, and most slabs merge into one mapping.
  if (!fibrio::test::kThreadSanitizer)
    CHECK(count_mappings() - mappings < count / 200 + 10);  // it maps shadow for them
  for (Stack* stack : taken) cache.release(stack);
  cache.give_back_all();
  std::size_t all = pool.stats().warm;  // with the last batch's rest
  CHECK(all >= count);
  CHECK(all < count + 32);

  // The clock is the test's own: two periods, as if two seconds passed.
  CHECK(pool.trim(0, kSecond) == 0);
  CHECK(pool.trim(kSecond, kSecond) == all);
  CHECK_FALSE(pool.has_untrimmed());
  CHECK(pool.stats().slabs == 1);
  taken = {};
  if (!kAnySanitizer) CHECK(resident_bytes() < resident + 2 * kMiB);
}

TEST_CASE("StackPool keeps warm what is in use at times and trims the rest", "[stack_pool][trim]") {
  StackPool pool;
  std::vector<Stack*> taken;
  for (int i = 0; i < 10; ++i) taken.push_back(pool.acquire(kStack));
  for (Stack* stack : taken) pool.release(stack);
  CHECK(pool.has_untrimmed());
  CHECK(pool.trim(0, kSecond) == 0);
  // Three of ten were needed in the period.
  Stack* used[] = {pool.acquire(kStack), pool.acquire(kStack), pool.acquire(kStack)};
  for (Stack* stack : used) pool.release(stack);
  CHECK(pool.trim(kSecond / 2, kSecond) == 0);
  CHECK(pool.trim(kSecond, kSecond) == 7);
  CHECK(pool.stats().warm == 3);
  CHECK(pool.stats().cold == 7);
  CHECK(pool.trim(2 * kSecond, kSecond) == 3);
  CHECK_FALSE(pool.has_untrimmed());
  CHECK(pool.trim(9 * kSecond, kSecond) == 0);
}

TEST_CASE("StackPool returns the pages of trimmed stacks while their slab is in use", "[stack_pool][trim]") {
  StackPool pool(kSmallSlabs);
  std::vector<Stack*> taken;
  for (int i = 0; i < 6; ++i) taken.push_back(pool.acquire(kStack));
  for (Stack* stack : taken) touch(*stack, 200 * kKiB);
  Stack* kept = taken[2];  // between others: what is given back in one call must stop at it
  taken.erase(taken.begin() + 2);
  for (Stack* stack : taken) pool.release(stack);
  std::size_t before = resident_bytes();
  pool.trim(0, kSecond);
  CHECK(pool.trim(kSecond, kSecond) == 5);
  if (!kAnySanitizer) CHECK(before - resident_bytes() > 900 * kKiB);
  CHECK(*(kept->start() - 1) == std::byte{1});  // nobody touched the one in use
  Stack* again = pool.acquire(kStack);
  CHECK(*(again->start() - 1) == std::byte{0});
  touch(*again, 200 * kKiB);
  pool.release(again);
  pool.release(kept);
}

TEST_CASE("StackPool unmaps slabs that nobody uses and keeps one", "[stack_pool][trim]") {
  StackPool pool(kSmallSlabs);
  std::vector<Stack*> taken;
  for (int i = 0; i < 60; ++i) taken.push_back(pool.acquire(kStack));
  CHECK(pool.stats().slabs == 10);
  for (Stack* stack : taken) pool.release(stack);
  pool.trim(0, kSecond);
  CHECK(pool.stats().slabs == 10);
  CHECK(pool.trim(kSecond, kSecond) == 60);
  CHECK(pool.stats().slabs == 1);
  CHECK(pool.stats().reserved_bytes < 3 * kMiB);
  CHECK_FALSE(pool.has_untrimmed());
  Stack* again = pool.acquire(kStack);
  touch(*again, kKiB);
  pool.release(again);
}

TEST_CASE("StackPool trims no more at a time than it is told", "[stack_pool][trim]") {
  StackPool pool(kSmallSlabs);
  std::vector<Stack*> taken;
  for (int i = 0; i < 60; ++i) taken.push_back(pool.acquire(kStack));
  for (Stack* stack : taken) pool.release(stack);
  pool.trim(0, kSecond, 6);
  std::size_t trimmed = 0;
  for (int call = 0; call < 20 && pool.has_untrimmed(); ++call) {
    std::size_t now = pool.trim(kSecond, kSecond, 6);
    CHECK(now <= 6);
    trimmed += now;
  }
  CHECK(trimmed == 60);
  CHECK_FALSE(pool.has_untrimmed());
}

TEST_CASE("A stack that nobody uses is poisoned under AddressSanitizer", "[stack_pool]") {
  if (!fibrio::test::kAddressSanitizer) return;
  StackPool pool;
  StackCache cache(pool);
  Stack* pooled = pool.acquire(kStack);
  Stack* cached = cache.acquire(kStack);
  pool.release(pooled);
  cache.release(cached);
  for (Stack* stack : {pooled, cached}) {
    auto child =
        fibrio::test::run_in_child([&] { *static_cast<volatile std::byte*>(stack->low) = std::byte{1}; });
    CHECK_THAT(child.errors, Catch::Contains("AddressSanitizer"));
  }
}

TEST_CASE("StackPool keeps a slab that was used within the period", "[stack_pool][trim]") {
  StackPool pool(kSmallSlabs);
  std::vector<Stack*> taken;
  for (int i = 0; i < 12; ++i) taken.push_back(pool.acquire(kStack));  // two slabs
  for (Stack* stack : taken) pool.release(stack);
  pool.trim(0, kSecond);
  for (Stack*& stack : taken) stack = pool.acquire(kStack);
  for (Stack* stack : taken) pool.release(stack);
  CHECK(pool.trim(kSecond, kSecond) == 0);
  CHECK(pool.stats().slabs == 2);
  CHECK(pool.trim(2 * kSecond, kSecond) == 12);
  CHECK(pool.stats().slabs == 1);
}

TEST_CASE("StackPool with no age trims at the next moment", "[stack_pool][trim]") {
  StackPool pool(kSmallSlabs);
  std::vector<Stack*> taken;
  for (int i = 0; i < 20; ++i) taken.push_back(pool.acquire(kStack));
  for (Stack* stack : taken) pool.release(stack);
  pool.trim(0, 0);
  pool.trim(1, 0);
  CHECK_FALSE(pool.has_untrimmed());
  CHECK(pool.stats().warm == 0);
  CHECK(pool.stats().slabs == 1);
}

TEST_CASE("StackCache takes the pool's hottest first after it ran empty", "[stack_cache]") {
  StackPool pool;
  std::vector<Stack*> taken;
  for (int i = 0; i < 10; ++i) taken.push_back(pool.acquire(kStack));
  for (Stack* stack : taken) pool.release(stack);
  StackCache cache(pool);
  for (std::size_t i = 10; i > 0; --i) CHECK(cache.acquire(kStack) == taken[i - 1]);
  for (Stack* stack : taken) cache.release(stack);
}

TEST_CASE("StackCache gives back what it did not need in a period", "[stack_cache][trim]") {
  StackPool pool;
  StackCache cache(pool);
  std::vector<Stack*> taken;
  for (int i = 0; i < 10; ++i) taken.push_back(cache.acquire(kStack));
  for (Stack* stack : taken) cache.release(stack);
  std::size_t cached = cache.cached();
  REQUIRE(cached >= 10);
  CHECK(cache.give_back_cold(0, kSecond) == 0);
  Stack* one = cache.acquire(kStack);
  cache.release(one);
  CHECK(cache.give_back_cold(kSecond, kSecond) == cached - 1);
  CHECK(cache.cached() == 1);
  CHECK(cache.acquire(kStack) == one);
  cache.release(one);
}

TEST_CASE("StackPool describes stacks and guards and nothing else", "[stack_pool][describe]") {
  StackPool pool(kSmallSlabs);
  std::vector<Stack*> taken;
  for (int i = 0; i < 13; ++i) taken.push_back(pool.acquire(kStack));
  taken.push_back(pool.acquire(32 * kKiB));
  for (Stack* stack : taken) {
    StackInfo info{};
    REQUIRE(pool.describe(stack->low, info));
    CHECK(info.low == stack->low);
    CHECK(info.top == stack->top);
    CHECK_FALSE(info.in_guard);
    REQUIRE(pool.describe(stack->top - 1, info));
    CHECK(info.low == stack->low);
    REQUIRE(pool.describe(stack->low - 1, info));
    CHECK(info.in_guard);
    CHECK(info.low == stack->low);
    REQUIRE(pool.describe(stack->low - kGuardBytes, info));
    CHECK(info.in_guard);
    CHECK(info.guard == stack->low - kGuardBytes);
  }
  StackInfo info{};
  CHECK_FALSE(pool.describe(nullptr, info));
  CHECK_FALSE(pool.describe(&info, info));
  CHECK_FALSE(pool.describe(taken[0], info));  // the slab's own head
  CHECK_FALSE(pool.describe(reinterpret_cast<void*>(~std::uintptr_t{0}), info));
  for (Stack* stack : taken) pool.release(stack);
}

TEST_CASE("StackPool does not describe a slab that was unmapped", "[stack_pool][describe]") {
  StackPool pool(kSmallSlabs);
  std::vector<Stack*> taken;
  for (int i = 0; i < 18; ++i) taken.push_back(pool.acquire(kStack));  // three slabs
  const std::byte* one_of_each[] = {taken[0]->low, taken[6]->low, taken[12]->low};
  for (std::size_t i = 1; i < taken.size(); ++i) pool.release(taken[i]);
  pool.trim(0, kSecond);
  pool.trim(kSecond, kSecond);
  REQUIRE(pool.stats().slabs == 2);  // that of the first stack, and the one that is kept
  StackInfo info{};
  CHECK(pool.describe(taken[0]->low, info));
  int described = 0;
  for (const std::byte* address : one_of_each) described += pool.describe(address, info);
  CHECK(described == 2);
  pool.release(taken[0]);
}
