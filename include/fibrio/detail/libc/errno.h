/* The C library's <errno.h>, and then errno as fibrio/errno.hpp says. The directory of this file stands in the include
 * path of who links fibrio, so that every <errno.h> and <cerrno> comes by here, whoever includes it. Also for C (which
 * gets nothing but the C library's), and for any C++: it reaches files that do not use fibrio. */
#pragma GCC system_header
#include_next <errno.h>

#if defined(__cplusplus) && defined(__GLIBC__) && !defined(FIBRIO_ERRNO)
#define FIBRIO_ERRNO
extern "C++" {
namespace fibrio {
namespace detail {
/* Through a pointer of which the compiler knows nothing, and so nothing of what is called: neither within one file, nor
 * with link-time optimisation. */
__attribute__((always_inline, nothrow)) inline int* errno_now() {
  int* (*ask)() = &::__errno_location;
  __asm__ __volatile__("" : "+r"(ask) : : "memory");
  return ask();
}
}
}
}
#undef errno
#define errno (*::fibrio::detail::errno_now())
#endif
