// What: which sanitizer this is built with, the same way for g++ and clang.
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
