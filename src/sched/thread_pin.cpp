#include "sched/thread_pin.hpp"

#include <pthread.h>

#include <algorithm>
#include <mutex>

#include "base/fork_hold.hpp"
#include "base/syscalls.hpp"

namespace fibrio::detail {

namespace {

std::mutex default_lock;
int bound_threads = 0;  // guarded by default_lock

// Null: threads inherit the mask of their maker again.
void set_cpus_of_new_threads([[maybe_unused]] const cpu_set_t* cpus) noexcept {
#ifdef __GLIBC__
  pthread_attr_t attributes;
  if (::pthread_getattr_default_np(&attributes) != 0) return;
  const cpu_set_t none{};
  if (::pthread_attr_setaffinity_np(&attributes, cpus == nullptr ? 0 : sizeof none,
                                    cpus == nullptr ? &none : cpus) == 0)
    static_cast<void>(::pthread_setattr_default_np(&attributes));
  ::pthread_attr_destroy(&attributes);
#endif
}

bool bind_to_one(std::size_t index, const cpu_set_t& cpus) noexcept {
  auto wanted = static_cast<int>(index % static_cast<std::size_t>(std::max(CPU_COUNT(&cpus), 1)));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &cpus) || wanted-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return sys::sched_setaffinity(0, sizeof one, &one) >= 0;
  }
  return false;
}

}  // namespace

ThreadPin::ThreadPin(std::size_t index) noexcept {
  if (sys::sched_getaffinity(0, sizeof former_, &former_) < 0) return;
  is_bound_ = bind_to_one(index, former_);
  if (!is_bound_) return;
  hold_over_forks<default_lock>();
  const std::lock_guard guard(default_lock);
  if (bound_threads++ == 0) set_cpus_of_new_threads(&former_);
}

ThreadPin::~ThreadPin() {
  if (!is_bound_) return;
  sys::sched_setaffinity(0, sizeof former_, &former_);
  const std::lock_guard guard(default_lock);
  if (--bound_threads == 0) set_cpus_of_new_threads(nullptr);
}

}  // namespace fibrio::detail
