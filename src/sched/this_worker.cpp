#include "sched/this_worker.hpp"

namespace fibrio::detail {

namespace {
thread_local Worker* current = nullptr;
}

__attribute__((noinline)) Worker* this_worker() noexcept {
  asm volatile("" ::: "memory");
  return current;
}

__attribute__((noinline)) void set_this_worker(Worker* worker) noexcept {
  asm volatile("" ::: "memory");
  current = worker;
}

}  // namespace fibrio::detail
