// What: IdleSet::all_asleep_during, which virtual time relies on: the clock jumps when all workers sleep and
// nothing is on its way between them.
#include <array>

#include "model/protocols.hpp"
#include "queue/inject_queue.hpp"
#include "sched/idle_set.hpp"

using namespace fibrio::model::testing;  // NOLINT
namespace model = fibrio::model;
using fibrio::detail::IdleSet;
using fibrio::detail::InjectQueue;

namespace {

// An item goes from mailbox to mailbox; whoever sleeps asks whether all do, and nothing is left to be done.
enum class Look { at_both_ends, at_the_begin, without_wakes };
template <template <class> class Atomic, Look How = Look::at_both_ends>
void journey(model::Execution& execution) {
  struct Worker {
    InjectQueue<Atomic> mailbox;
    Atomic<bool> signalled{false};
    model::Event event;
  };
  constexpr std::size_t kWorkers = 3;
  IdleSet<Atomic> idle{kWorkers};
  std::array<Worker, kWorkers> workers;
  Item item;
  Atomic<bool> arrived{false};
  const auto no_mail = [&] {
    for (auto& worker : workers) {
      if (!worker.mailbox.is_empty_seq_cst()) return false;
    }
    return true;
  };
  const auto send = [&](Worker& to) {
    to.mailbox.push(&item);
    if (!to.signalled.exchange(true, kSeqCst)) to.event.signal();
  };
  const auto park_and_ask = [&](std::size_t index) {
    static_cast<void>(idle.park(index, false));
    const bool all_done = How == Look::at_both_ends   ? idle.all_asleep_during(no_mail)
                          : How == Look::at_the_begin ? idle.awake() == 0 && no_mail()
                                                      : idle.awake() == 0 && no_mail() && idle.awake() == 0;
    if (all_done) model::check(arrived.load(kRelaxed), "all sleep, and the item is under way");
    return all_done;
  };
  Atomic<int> answers{0};
  for (const std::size_t index : {std::size_t{1}, std::size_t{2}}) {
    static_cast<void>(idle.park(index, false));
    execution.thread([&, index] {
      Worker& self = workers[index];
      self.event.wait();
      static_cast<void>(idle.wake_self(index));
      self.signalled.store(false, kSeqCst);
      model::check(self.mailbox.pop_front() == &item, "it was woken for the item");
      if (index + 1 < kWorkers) {
        send(workers[index + 1]);
      } else {
        arrived.store(true, kRelaxed);
      }
      if (park_and_ask(index)) answers.fetch_add(1, kRelaxed);
    });
  }
  send(workers[1]);
  if (park_and_ask(0)) answers.fetch_add(1, kRelaxed);
  execution.join();
  model::check(answers.load(kRelaxed) > 0, "who parked last knows that all sleep");
}

}  // namespace

TEST_CASE("IdleSet tells that all sleep only if nothing is under way between them", "[model][idle_set]") {
  require_holds(journey<model::Atomic>);
  require_killed(journey<model::Atomic, Look::at_the_begin>);
  require_killed(journey<model::Atomic, Look::without_wakes>);
}
