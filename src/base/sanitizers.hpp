// What: which sanitizer this is built with, the same way for g++ and clang.
#pragma once

#include "fibrio/detail/build.hpp"

// ThreadSanitizer and fibers. Switches are announced as no_sync (unless the loop has one worker only), so that
// races between the fibers of one worker are seen; but then what belongs to a worker (its plain fields, its
// queue) has no order that the tool knows of, since fibers of one thread count as threads. Therefore:
//  - the code that touches what only a worker's own thread touches is not instrumented (FIBRIO_NO_TSAN, and
//    FIBRIO_NO_TSAN_BEGIN .. END around whole files); atomics in it still are;
//  - so is what initialises a waiter on a fiber's stack, as whoever runs next on that worker publishes it;
//  - what really is handed over is said: tsan_release(x) by who hands x over, tsan_acquire(x) by who takes
//    it;
//  - the process has had a second thread (tsan_have_threads): before, libstdc++ counts the references of a
//    shared_ptr with plain instructions, which between fibers would be a race.
#ifdef FIBRIO_TSAN
#include <sanitizer/tsan_interface.h>

#include <thread>
#define FIBRIO_NO_TSAN __attribute__((no_sanitize("thread")))
#else
#define FIBRIO_NO_TSAN
#endif

#if defined(FIBRIO_TSAN) && defined(__clang__)
#define FIBRIO_NO_TSAN_BEGIN \
  _Pragma("clang attribute push(__attribute__((no_sanitize(\"thread\"))), apply_to = function)")
#define FIBRIO_NO_TSAN_END _Pragma("clang attribute pop")
#else
#define FIBRIO_NO_TSAN_BEGIN
#define FIBRIO_NO_TSAN_END
#endif

namespace fibrio::detail {

inline void tsan_release([[maybe_unused]] void* handed_over) noexcept {
#ifdef FIBRIO_TSAN
  __tsan_release(handed_over);
#endif
}
inline void tsan_acquire([[maybe_unused]] void* taken) noexcept {
#ifdef FIBRIO_TSAN
  __tsan_acquire(taken);
#endif
}

inline void tsan_have_threads() {
#ifdef FIBRIO_TSAN
  [[maybe_unused]] static const bool has_had_one = (std::thread([] {}).join(), true);
#endif
}

// What only one thread touches, by whatever fiber it runs: the tool is told of the order.
class TsanSection {
 public:
  explicit TsanSection(void* owned) noexcept : owned_(owned) { tsan_acquire(owned_); }
  ~TsanSection() { tsan_release(owned_); }
  TsanSection(const TsanSection&) = delete;
  TsanSection& operator=(const TsanSection&) = delete;

 private:
  void* owned_;
};

}  // namespace fibrio::detail
