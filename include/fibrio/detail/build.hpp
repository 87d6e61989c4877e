// What: a program and the fibrio that it links are built with the same sanitizer. AddressSanitizer and
// ThreadSanitizer must be told of every switch between stacks, or they report errors that are none; that is
// compiled into the library with -DFIBRIO_SANITIZE=address or =thread. Where the two do not agree, the linker
// misses a symbol, whose name says so.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define FIBRIO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBRIO_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define FIBRIO_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIBRIO_TSAN 1
#endif
#endif

#if defined(FIBRIO_ASAN)
#define FIBRIO_BUILD fibrio_must_be_built_with_FIBRIO_SANITIZE_address_as_this_program_is
#elif defined(FIBRIO_TSAN)
#define FIBRIO_BUILD fibrio_must_be_built_with_FIBRIO_SANITIZE_thread_as_this_program_is
#else
#define FIBRIO_BUILD fibrio_must_be_built_without_FIBRIO_SANITIZE_as_this_program_is
#endif

extern "C" const char FIBRIO_BUILD;

namespace fibrio::detail {
[[gnu::used]] inline const char* const kBuild = &FIBRIO_BUILD;
}
