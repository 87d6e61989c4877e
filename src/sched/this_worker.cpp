#include "sched/this_worker.hpp"

#include <pthread.h>

#include "base/sanitizers.hpp"
#include "fibrio/detail/budget.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

namespace {

struct ThreadValue {
  void* value;
  void (*destroy)(void* value);
};

thread_local Worker* current = nullptr;
thread_local ThreadValue value = {nullptr, nullptr};

// The end of a thread. What it destroys may set a value again; then the system calls this again.
void destroy_value(void*) {
  const ThreadValue last = value;
  value = {nullptr, nullptr};
  if (last.value != nullptr) last.destroy(last.value);
}

// Without a key (all 1024 are taken) values stay when their threads end.
struct Key {
  pthread_key_t key;
  bool is_there;
};
Key end_of_thread() noexcept {
  static const Key made = [] {
    Key key{};
    key.is_there = ::pthread_key_create(&key.key, &destroy_value) == 0;
    return key;
  }();
  return made;
}

}  // namespace

__attribute__((noinline)) Worker* this_worker() noexcept {
  asm volatile("" ::: "memory");
  return current;
}

// Here, where the variable is, and with a hook, so that it calls nothing: it is on the path of each await of what is
// done.
__attribute__((noinline)) void spend_turn() {
  asm volatile("" ::: "memory");
  Worker* const worker = current;
  if (worker != nullptr && worker->spend_turn()) [[unlikely]]
    worker->scheduler.hooks.look_around_in_turn(*worker);
}

__attribute__((noinline)) void set_this_worker(Worker* worker) noexcept {
  asm volatile("" ::: "memory");
  current = worker;
}

__attribute__((noinline)) void* value_of_thread() noexcept {
  asm volatile("" ::: "memory");
  return value.value;
}

__attribute__((noinline)) void set_value_of_thread(void* its_value, void (*destroy)(void*)) noexcept {
  asm volatile("" ::: "memory");
  value = {its_value, destroy};
  const Key key = end_of_thread();
  // Any value but null: it has the destructor called.
  if (key.is_there) static_cast<void>(::pthread_setspecific(key.key, its_value));
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
