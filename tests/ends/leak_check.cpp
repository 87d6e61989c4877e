#include "ends/leak_check.hpp"

#include <atomic>

namespace {

std::atomic<bool> is_turned_off{false};

}  // namespace

namespace fibrio::test {

void check_no_leaks() noexcept { is_turned_off = true; }

}  // namespace fibrio::test

// Asked by LeakSanitizer at the end of the process.
extern "C" int __lsan_is_turned_off();  // NOLINT(bugprone-reserved-identifier)
extern "C" int __lsan_is_turned_off() { return is_turned_off ? 1 : 0; }
