#include <mutex>

#include "differential/operations.hpp"

namespace fibrio::test {

namespace {

constexpr std::ptrdiff_t kParties = 2;

Lock& lock_of(const Call& call) { return call.run.locks.get(call.name()); }
Event& event_of(const Call& call) { return call.run.events.get(call.name()); }
Condition& condition_of(const Call& call) { return call.run.conditions.get(call.name()); }
Semaphore& semaphore_of(const Call& call) { return call.run.semaphores.get(call.name(), 1); }
Barrier& barrier_of(const Call& call) { return call.run.barriers.get(call.name(), kParties); }
BoundedSemaphore& bounded_of(const Call& call) {
  return call.run.bounded_semaphores.get(call.name(), call.name() == "a" ? 1 : 2);
}

Json acquire_lock(const Call& call) {
  lock_of(call).lock();
  return nullptr;
}
Json release_lock(const Call& call) {
  try {
    lock_of(call).unlock();
  } catch (const RuntimeError&) {
    return "RuntimeError";
  }
  return true;
}

Json acquire_semaphore(const Call& call) {
  semaphore_of(call).acquire();
  return nullptr;
}
Json release_semaphore(const Call& call) {
  semaphore_of(call).release();
  return nullptr;
}
Json acquire_bounded(const Call& call) {
  bounded_of(call).acquire();
  return nullptr;
}
Json release_bounded(const Call& call) {
  try {
    bounded_of(call).release();
  } catch (const std::invalid_argument&) {
    return "ValueError";
  }
  return true;
}

Json locked(const Call& call) {
  return Json::array({lock_of(call).locked(), semaphore_of(call).locked(), bounded_of(call).locked()});
}

Json set_event(const Call& call) {
  event_of(call).set();
  return nullptr;
}
Json clear_event(const Call& call) {
  event_of(call).clear();
  return nullptr;
}
Json wait_event(const Call& call) {
  event_of(call).wait();
  return true;
}

Json wait_condition(const Call& call) {
  const std::lock_guard guard(condition_of(call));
  condition_of(call).wait();
  return true;
}
Json wait_condition_flag(const Call& call) {
  const std::lock_guard guard(condition_of(call));
  return condition_of(call).wait_for([&] { return call.run.over || call.run.flags[call.name()]; });
}
Json set_flag(const Call& call) {
  call.run.flags[call.name()] = call.op[2].get<bool>();
  return nullptr;
}
Json notify_condition(const Call& call) {
  const std::lock_guard guard(condition_of(call));
  condition_of(call).notify(call.op[2].get<std::size_t>());
  return nullptr;
}

Json wait_barrier(const Call& call) { return barrier_of(call).wait(); }
Json reset_barrier(const Call& call) {
  barrier_of(call).reset();
  return nullptr;
}
Json abort_barrier(const Call& call) {
  barrier_of(call).abort();
  return nullptr;
}
Json barrier_state(const Call& call) {
  return Json::array({barrier_of(call).n_waiting(), barrier_of(call).broken()});
}

}  // namespace

void add_sync_operations(Operations& operations) {
  operations.insert({{"acquire", acquire_lock},
                     {"release", release_lock},
                     {"sem-", acquire_semaphore},
                     {"sem+", release_semaphore},
                     {"bsem-", acquire_bounded},
                     {"bsem+", release_bounded},
                     {"locked", locked},
                     {"set", set_event},
                     {"clear", clear_event},
                     {"await_ev", wait_event},
                     {"cwait", wait_condition},
                     {"cwaitf", wait_condition_flag},
                     {"flag", set_flag},
                     {"cnotify", notify_condition},
                     {"barrier", wait_barrier},
                     {"breset", reset_barrier},
                     {"babort", abort_barrier},
                     {"bstate", barrier_state}});
}

}  // namespace fibrio::test
