#include "task/budget.hpp"

#include "task/task_control.hpp"

namespace fibrio::detail {

namespace {

void deliver(Worker& worker) {
  auto& task = TaskControl::of(*worker.current);
  if (!is_masked(worker) && task.word.take_cancellation()) task.throw_cancelled();
}

[[gnu::noinline]] Worker& give_way(Worker& worker) {
  // A timer that is due fires at the end of a pass: of the next one at the latest.
  constexpr int kPasses = 3;
  Worker* here = &worker;
  for (int pass = 0; pass == 0 || (pass < kPasses && here->has_overdue_timers()); ++pass) {
    yield_current(*here);
    here = this_worker();
    deliver(*here);
  }
  return *here;
}

}  // namespace

Worker& look_around(Worker& worker, bool is_turn) {
  const bool gives_way = is_turn ? worker.renew_turns() : worker.renew_budget(false);
  if (worker.current == nullptr) return worker;
  deliver(worker);
  return gives_way ? give_way(worker) : worker;
}

void look_around_in_turn(Worker& worker) { look_around(worker, true); }

void look_around_in_turn() {
  if (Worker* const worker = this_worker()) look_around(*worker, true);
}

}  // namespace fibrio::detail
