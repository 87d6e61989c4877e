#include "fibrio/errno.hpp"

namespace fibrio::detail {

// Compiled without link-time optimisation. (A second name for the C library's function would cost nothing, but
// with link-time optimisation g++ and clang take both names for one function, and its result for constant again.)
__attribute__((noinline)) int* errno_location() noexcept {
  asm volatile("" ::: "memory");
  return __errno_location();
}

}  // namespace fibrio::detail
