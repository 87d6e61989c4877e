#include "sched/this_worker.hpp"

#include "base/sanitizers.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

namespace {
thread_local Worker* current = nullptr;
thread_local std::shared_ptr<void> value;
}  // namespace

__attribute__((noinline)) Worker* this_worker() noexcept {
  asm volatile("" ::: "memory");
  return current;
}

__attribute__((noinline)) void set_this_worker(Worker* worker) noexcept {
  asm volatile("" ::: "memory");
  current = worker;
}

__attribute__((noinline)) std::shared_ptr<void>& value_of_thread() noexcept {
  asm volatile("" ::: "memory");
  return value;
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
