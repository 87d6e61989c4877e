// StackPool when the kernel refuses, through the system-call table.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "fiber/stack_cache.hpp"
#include "fiber/stack_pool.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/scoped_syscalls.hpp"

using namespace fibrio;
using namespace fibrio::detail;
using fibrio::test::count_mappings;
using fibrio::test::run_in_child;
using fibrio::test::ScopedSyscalls;

namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;
constexpr std::size_t kStack = 256 * kKiB;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr int kGuardInstall = 102;

int guard_answer = 0;
int calls_until_failure = 0;
std::size_t largest_mapping = 0;
int mappings_made = 0;

void answer_guards_with(int answer) {
  guard_answer = answer;
  sys::syscalls.madvise = [](void* address, std::size_t bytes, int advice) {
    return advice == kGuardInstall ? guard_answer : sys::real_syscalls.madvise(address, bytes, advice);
  };
}

void count_maps_and_refuse_above(std::size_t bytes) {
  largest_mapping = bytes;
  mappings_made = 0;
  sys::syscalls.mmap = [](void* address, std::size_t size, int protection, int flags, int fd, off_t offset) {
    if (size > largest_mapping) return sys::MapResult{nullptr, -ENOMEM};
    ++mappings_made;
    return sys::real_syscalls.mmap(address, size, protection, flags, fd, offset);
  };
  sys::syscalls.munmap = [](void* address, std::size_t size) {
    --mappings_made;
    return sys::real_syscalls.munmap(address, size);
  };
}

bool dies_at(std::byte* address) {
  return run_in_child([&] {
           ::signal(SIGSEGV, SIG_DFL);
           *static_cast<volatile std::byte*>(address) = std::byte{1};
         }).exit_code != 0;
}

}  // namespace

TEST_CASE("StackPool guards with mprotect where the kernel has no guard advice", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  bool probe_fails = GENERATE(true, false);
  CAPTURE(probe_fails);
  if (probe_fails) answer_guards_with(-EINVAL);
  StackPool pool;
  if (!probe_fails) {
    if (pool.stats().guard != GuardKind::kMadvise) return;
    answer_guards_with(-EINVAL);
  }
  CHECK((pool.stats().guard == GuardKind::kMprotect) == probe_fails);
  Stack* stack = pool.acquire(kStack);
  CHECK(pool.stats().guard == GuardKind::kMprotect);
  CHECK(dies_at(stack->low - 1));
  CHECK(dies_at(stack->low - kGuardBytes));
  CHECK_FALSE(dies_at(stack->low));
  // Trimming reaches over such guards, too.
  Stack* neighbour = pool.acquire(kStack);
  *(stack->top - 1) = *(neighbour->top - 1) = std::byte{1};
  Stack* holder = pool.acquire(kStack);
  pool.release(stack);
  pool.release(neighbour);
  pool.trim(0, kSecond);
  CHECK(pool.trim(kSecond, kSecond) == 2);
  stack = pool.acquire(kStack);
  CHECK(*(stack->top - 1) == std::byte{0});
  CHECK(dies_at(stack->low - 1));
  pool.release(stack);
  pool.release(holder);
}

TEST_CASE("StackPool guards with mprotect under mlockall", "[stack_pool][fault]") {
  if (fibrio::test::kAnySanitizer) return;  // they turn mlockall into nothing
  auto child = run_in_child([] {
    StackPool pool({.slab_bytes = 2 * kMiB});
    pool.release(pool.acquire(kStack));
    if (::mlockall(MCL_CURRENT | MCL_ONFAULT) != 0) ::_exit(77);
    Stack* others[] = {pool.acquire(kStack), pool.acquire(kStack)};
    *others[1]->low = std::byte{1};
    ::_exit(pool.stats().guard == GuardKind::kMprotect ? 0 : 1);
  });
  if (child.exit_code == 77) {
    WARN("mlockall is not allowed here");
  } else {
    CHECK(child.exit_code == 0);
  }
}

TEST_CASE("StackPool names the limit when mmap is refused and leaves nothing behind", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  StackPool pool;
  count_maps_and_refuse_above(0);
  StackFailure failure;
  CHECK(pool.try_acquire(kStack, failure) == nullptr);
  CHECK(failure.error == -ENOMEM);
  CHECK(std::string(failure.call) == "mmap");
  CHECK_THROWS_WITH(pool.acquire(kStack),
                    Catch::Contains("256 KiB") && Catch::Contains("mmap") && Catch::Contains("the limit is"));
  CHECK(mappings_made == 0);
  CHECK(pool.stats().slabs == 0);
  CHECK(pool.stats().reserved_bytes == 0);
  CHECK(pool.stats().failed == 2);
  scope.restore();
  Stack* stack = pool.acquire(kStack);  // and it goes on when it can
  pool.release(stack);
}

TEST_CASE("StackPool makes smaller slabs where a large one does not fit", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  {
    StackPool pool;
    count_maps_and_refuse_above(1 * kMiB);
    Stack* stack = pool.acquire(kStack);
    CHECK(pool.stats().reserved_bytes < 1 * kMiB);
    pool.release(stack);
  }
  CHECK(mappings_made == 0);
}

TEST_CASE("StackLimitError names RLIMIT_AS", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  StackPool pool;
  count_maps_and_refuse_above(0);
  sys::syscalls.getrlimit = [](int, rlimit* limit) {
    limit->rlim_cur = limit->rlim_max = 1 * kMiB;
    return 0;
  };
  CHECK_THROWS_WITH(pool.acquire(kStack), Catch::Contains("RLIMIT_AS = 1 MiB"));
}

TEST_CASE("StackLimitError names RLIMIT_MEMLOCK when locked memory runs out", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  StackPool pool;
  sys::syscalls.mmap = [](void*, std::size_t, int, int, int, off_t) {
    return sys::MapResult{nullptr, -EAGAIN};
  };
  CHECK_THROWS_WITH(pool.acquire(kStack), Catch::Contains("RLIMIT_MEMLOCK"));
}

TEST_CASE("StackPool hands out no stack without a guard", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  StackPool pool;
  answer_guards_with(-EINVAL);
  calls_until_failure = 3;
  sys::syscalls.mprotect = [](void* address, std::size_t bytes, int protection) {
    if (calls_until_failure-- <= 0) return -ENOMEM;
    return sys::real_syscalls.mprotect(address, bytes, protection);
  };
  StackCache cache(pool);
  std::vector<Stack*> taken;
  for (int i = 0; i < 3; ++i) taken.push_back(cache.acquire(kStack));
  CHECK_THROWS_WITH(cache.acquire(kStack),
                    Catch::Contains("vm.max_map_count") && Catch::Contains("mprotect"));
  CHECK(pool.stats().in_use == 3);
  CHECK(pool.stats().cached == 0);
  // The limit is raised: what had no guard gets one.
  scope.restore();
  taken.push_back(cache.acquire(kStack));
  CHECK(dies_at(taken.back()->low - 1));
  for (Stack* stack : taken) cache.release(stack);
}

TEST_CASE("StackPool passes on that page tables ran out", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  StackPool pool;
  if (pool.stats().guard != GuardKind::kMadvise) return;
  answer_guards_with(-ENOMEM);
  CHECK_THROWS_WITH(pool.acquire(kStack), Catch::Contains("page tables"));
  CHECK(pool.stats().guard == GuardKind::kMadvise);
  CHECK(pool.stats().in_use == 0);
}

TEST_CASE("StackPool keeps a slab that the kernel will not unmap, without its pages", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  StackPool pool({.slab_bytes = 2 * kMiB});
  std::vector<Stack*> taken;
  for (int i = 0; i < 18; ++i) taken.push_back(pool.acquire(kStack));
  for (Stack* stack : taken) *(stack->top - 1) = std::byte{1};
  for (Stack* stack : taken) pool.release(stack);
  sys::syscalls.munmap = [](void*, std::size_t) { return -ENOMEM; };
  pool.trim(0, kSecond);
  CHECK(pool.trim(kSecond, kSecond) == 18);
  CHECK(pool.stats().slabs == 3);
  CHECK(pool.stats().cold == 18);
  CHECK_FALSE(pool.has_untrimmed());  // or an idle worker would try for ever
  scope.restore();
  StackInfo info{};
  for (Stack* stack : taken) CHECK(pool.describe(stack->low, info));
  // It lives on as any other slab does.
  for (Stack*& stack : taken) stack = pool.acquire(kStack);
  for (Stack* stack : taken) CHECK(*(stack->top - 1) == std::byte{0});
  CHECK(pool.stats().slabs == 3);
  CHECK_FALSE(pool.has_untrimmed());  // it is not counted among the slabs that may go
  for (Stack* stack : taken) pool.release(stack);
  pool.trim(2 * kSecond, kSecond);
  CHECK(pool.trim(3 * kSecond, kSecond) == 18);
  CHECK(pool.stats().slabs == 3);
  CHECK_FALSE(pool.has_untrimmed());
}

// Symptom: a slab of which all stacks lay with the trimmer gave out stacks beyond its end.
TEST_CASE("StackPool hands out stacks while the trimmer is in the kernel", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  static StackPool* asked;
  static std::vector<Stack*> got;
  StackPool pool({.slab_bytes = 2 * kMiB});
  asked = &pool;
  got.clear();
  std::vector<Stack*> taken;
  for (int i = 0; i < 6; ++i) taken.push_back(pool.acquire(kStack));  // a whole slab
  for (Stack* stack : taken) pool.release(stack);
  pool.trim(0, kSecond);
  // No lock is held over a system call, so that the fake may act as another thread.
  sys::syscalls.madvise = [](void* address, std::size_t bytes, int advice) {
    if (advice == MADV_DONTNEED && got.empty()) {
      for (int i = 0; i < 8; ++i) got.push_back(asked->acquire(kStack));
    }
    return sys::real_syscalls.madvise(address, bytes, advice);
  };
  CHECK(pool.trim(kSecond, kSecond) == 6);
  REQUIRE(got.size() == 8);
  for (Stack* stack : got) {
    StackInfo info{};
    REQUIRE(pool.describe(stack->low, info));
    CHECK(info.top == stack->top);
    CHECK(std::count(taken.begin(), taken.end(), stack) == 0);
  }
  for (Stack* stack : got) pool.release(stack);
  CHECK(pool.stats().in_use == 0);
}

TEST_CASE("StackPool leaves no mapping behind", "[stack_pool][fault]") {
  ScopedSyscalls scope;
  count_maps_and_refuse_above(SIZE_MAX);
  {
    StackPool pool;
    StackCache cache(pool);
    for (std::size_t bytes : {16 * kKiB, kStack, 1 * kMiB}) cache.release(cache.acquire(bytes));
    CHECK(mappings_made == 3);
  }
  CHECK(mappings_made == 0);
}
