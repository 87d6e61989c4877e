#include "ends/refusals.hpp"

#include <pthread.h>

#include <cerrno>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

namespace fibrio::test {
Countdown allocations;
Countdown threads;
}  // namespace fibrio::test

using fibrio::test::allocations;
using fibrio::test::threads;

// NOLINTBEGIN: the names are the linker's.
extern "C" {
void* __real__Znwm(std::size_t bytes);
void* __real__ZnwmRKSt9nothrow_t(std::size_t bytes, const std::nothrow_t&) noexcept;
void* __real__ZN6fibrio6detail14allocate_blockEm(std::size_t bytes);
int __real_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

void* __wrap__Znwm(std::size_t bytes) {
  if (allocations.is_hit()) throw std::bad_alloc();
  return __real__Znwm(bytes);
}
void* __wrap__ZnwmRKSt9nothrow_t(std::size_t bytes, const std::nothrow_t& tag) noexcept {
  return allocations.is_hit() ? nullptr : __real__ZnwmRKSt9nothrow_t(bytes, tag);
}
void* __wrap__ZN6fibrio6detail14allocate_blockEm(std::size_t bytes) {
  if (allocations.is_hit()) throw std::bad_alloc();
  return __real__ZN6fibrio6detail14allocate_blockEm(bytes);
}
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*main)(void*),
                          void* argument) {
  return threads.is_hit() ? EAGAIN : __real_pthread_create(thread, attributes, main, argument);
}
}

// std::thread's, whose pthread_create is inside of the C++ library.
void real_start(std::thread* self, std::unique_ptr<std::thread::_State> state, void (*depends)()) asm(
    "__real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE");
void wrap_start(std::thread* self, std::unique_ptr<std::thread::_State> state, void (*depends)()) asm(
    "__wrap__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE");
void wrap_start(std::thread* self, std::unique_ptr<std::thread::_State> state, void (*depends)()) {
  if (threads.is_hit())
    throw std::system_error(EAGAIN, std::generic_category(), "Resource temporarily unavailable");
  real_start(self, std::move(state), depends);
}
// NOLINTEND
