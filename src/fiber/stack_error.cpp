#include "fiber/stack_error.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/syscalls.hpp"
#include "base/unique_fd.hpp"
#include "fiber/stack.hpp"

namespace fibrio::detail {

namespace {

// The first number in a file of /proc, or -1.
long long number_in(const char* path) noexcept {
  sys::UniqueFd fd(sys::open(path, O_RDONLY | O_CLOEXEC));
  std::array<char, 64> text{};
  if (!fd || sys::read(fd.get(), text.data(), text.size() - 1) <= 0) return -1;
  return std::atoll(text.data());
}

// RLIMIT_AS in bytes if it is what stands in the way of `more` bytes, else 0.
unsigned long long address_space_limit(std::size_t more) noexcept {
  rlimit limit{};
  if (sys::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return 0;
  constexpr long long kSmallestPage = 4096;
  long long mapped_pages = number_in("/proc/self/statm");
  if (mapped_pages < 0) return limit.rlim_cur;
  auto needed = static_cast<unsigned long long>(mapped_pages * kSmallestPage) + more + kGuardBytes;
  return needed > limit.rlim_cur ? limit.rlim_cur : 0;
}

}  // namespace

StackLimitError::StackLimitError(const StackFailure& failure) noexcept : failure_(failure) {
  char* out = text_.data();
  std::size_t size = text_.size();
  constexpr std::size_t kKiB = 1024;
  constexpr std::size_t kMiB = 1024 * 1024;
  if (failure.call == nullptr) {
    std::snprintf(out, size, "no stack of %zu bytes: the largest is %zu MiB; put large data on the heap",
                  failure.bytes, kMaxStackBytes / kMiB);
    return;
  }
  auto used = static_cast<std::size_t>(std::snprintf(
      out, size, "no memory for a stack of %zu KiB (%s: %s; %zu MiB of stacks reserved): ",
      failure.bytes / kKiB, failure.call, ::strerrordesc_np(-failure.error), failure.reserved_bytes / kMiB));
  if (used >= size) return;
  out += used;
  size -= used;

  // What mmap's ENOMEM means is found by elimination: reserving needs no memory, only leave.
  if (std::strcmp(failure.call, "mprotect") == 0) {
    std::snprintf(
        out, size,
        "the limit is vm.max_map_count = %lld, of which each guard takes two on this kernel; raise it "
        "with sysctl, or use Linux 6.13 or newer, where guards take none",
        number_in("/proc/sys/vm/max_map_count"));
  } else if (failure.error == -EAGAIN) {
    std::snprintf(out, size,
                  "the limit is RLIMIT_MEMLOCK: the process locks its memory (mlockall); raise it "
                  "with ulimit -l, or lock with MCL_ONFAULT");
  } else if (std::strcmp(failure.call, "mmap") != 0) {
    std::snprintf(out, size,
                  "the kernel has no memory for page tables; raise the memory limit of the container (cgroup "
                  "memory.max), or run fewer tasks at a time");
  } else if (unsigned long long limit = address_space_limit(failure.bytes); limit != 0) {
    std::snprintf(
        out, size,
        "the limit is RLIMIT_AS = %llu MiB of address space; raise it with ulimit -v, or use smaller "
        "stacks",
        limit / kMiB);
  } else if (number_in("/proc/sys/vm/overcommit_memory") == 2) {
    std::snprintf(
        out, size,
        "the limit is vm.overcommit_memory = 2, which counts reserved stacks as used memory; set it "
        "to 0, or raise vm.overcommit_ratio, or use smaller stacks");
  } else {
    std::snprintf(
        out, size,
        "the limit is probably vm.max_map_count = %lld mappings per process; raise it with sysctl, or "
        "run fewer tasks at a time",
        number_in("/proc/sys/vm/max_map_count"));
  }
}

}  // namespace fibrio::detail
