// What: the gate of a loop: whoever entered is done before the closer goes on, and nobody enters later.
#include "sched/gate.hpp"

#include "support/catch.hpp"
#include "support/model/model.hpp"

namespace model = fibrio::model;
using Gate = fibrio::detail::Gate<model::Atomic>;

namespace {

model::Body closes_beside(int callers, int calls) {
  return [=](model::Execution& execution) {
    Gate gate;
    model::Var<bool> is_there{true};
    for (int i = 0; i < callers; ++i) {
      execution.thread([&] {
        for (int call = 0; call < calls; ++call) {
          if (!gate.enter()) {
            model::check(!gate.enter(), "refused once, refused always");
            return;
          }
          model::check(is_there.get(), "what the closer frees is used inside of the gate");
          gate.leave();
        }
      });
    }
    execution.thread([&] {
      gate.close();
      is_there.set(false);
    });
    execution.join();
    model::check(gate.is_closed() && !gate.enter(), "it is closed");
    gate.close();  // once more: nobody is inside
  };
}

}  // namespace

TEST_CASE("Gate: those that entered have left before what they use is freed", "[model][gate]") {
  const auto two = model::explore({.preemption_bound = 3}, closes_beside(2, 1));
  CHECK(two);
  CHECK(two.exhausted);
  const auto again = model::explore({.preemption_bound = 3}, closes_beside(1, 3));
  CHECK(again);
  CHECK(again.exhausted);
  CHECK(model::explore(model::random_search(20'000), closes_beside(3, 3)));
}
