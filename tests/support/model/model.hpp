// What: a model checker for small lock-free parts. It runs the real code, a template over the atomic type,
// in every interleaving and with every value that the C++ memory model lets a load return, and reports the
// first execution that goes wrong together with its trace and with what replays it.
//
//   #include "support/model/model.hpp"
//
//   TEST_CASE("Publishing by a release store hands the data over", "[model]") {
//     const auto result = model::explore({.preemption_bound = 3}, [](model::Execution& execution) {
//       model::Var<int> data{0};             // fresh state for every execution
//       model::Atomic<bool> ready{false};
//       execution.thread([&] { data.set(42); ready.store(true, std::memory_order_release); });
//       execution.thread([&] {
//         while (!ready.load(std::memory_order_acquire)) model::yield();
//         model::check(data.get() == 42, "the reader sees the data");
//       });
//       execution.join();                    // checks of the final state come after it
//     });
//     CHECK(result);                         // prints message, trace and choices if it failed
//     CHECK(result.exhausted);
//   }
//
// To find out more about a failure: model::replay("the choices it printed", body) runs that one execution.
// Link the .cpp files beside this header and boost_context.
//
// Rules for the body and the code under test
//   1. Everything made inside the body; nothing kept from one execution to the next; no clocks, no random
//      numbers, no threads (model::choose(n) is the way to let something happen or not).
//   2. Shared plain data in a model::Var; shared atomics in model::Atomic, with explicit orders.
//   3. A loop that waits for another thread calls spin_pause<Atomic>() or model::yield() in each round.
//   4. model::check instead of Catch2's macros. A failure does not throw: the execution is left where it is.
//   5. Not more than 7 threads besides the body (2 or 3 are what can be searched), 4096 objects, 36
//      alternatives per choice. Every thread beyond the second and every operation costs a factor.
//
// What is modelled
//   - Sequenced-before, synchronises-with and happens-before, by vector clocks: release and acquire, release
//     sequences continued by read-modify-writes of any thread (C++20), thread start and join.
//   - Coherence: a load returns any of the newest 8 stores that neither a store it knows of nor an earlier
//     load that happens before it rules out. Read-modify-writes read the newest store. A compare_exchange
//     that fails is a load with its failure order and may be stale as well; weak may fail spuriously.
//   - seq_cst as in C++20: a total order S, the order of execution; a seq_cst load does not return a store
//     older than one that a seq_cst operation before it in S wrote or read. A seq_cst load may pass by a
//     store that was not seq_cst, however late it comes: that is what the standard says, and what most
//     wrong sleep protocols get wrong.
//   - Construction and destruction of Atomic, Var, Event... as plain writes: using an object whose
//     construction does not happen before, or destroying one while a use of it does not happen before, is a
//     data race; using one after its destruction is reported, also if its memory was freed meanwhile (as
//     long as reading freed memory does not crash; run under ASan to be sure).
//   - Data races on Var, in executions in which both accesses take place.
// What is not
//   - Fences (house rule: none), consume (taken as acquire), atomic wait and notify, volatile.
//   - Loads never see stores that are executed later (load buffering). So a release whose only duty is that
//     earlier relaxed loads stay before it, like that of a thief who has read the slots of a ring, cannot be
//     shown to be missing by a wrong outcome. Options::report_load_buffering reports the possibility: a store
//     which a load of the same word precedes by cause and effect, but does not happen before. It is on the
//     safe side: it also reports loads whose result is dropped or guarded by a dependency.
//   - The modification order is the order of execution: the weak outcome of 2+2W is not found.
//   - Real time. A thread is never just slow: fairness is "nobody is forgotten for ever once he alone can go
//     on", and a timeout is a choice (Event::wait_timed).
//   - More than the bounds in Options. `exhausted` means: everything within them.
#pragma once

#include <concepts>
#include <functional>
#include <string>
#include <string_view>

#include "base/atomic.hpp"
#include "support/model/atomic.hpp"
#include "support/model/result.hpp"
#include "support/model/var.hpp"
#include "support/model/waiting.hpp"
#include "support/model/where.hpp"

namespace fibrio::model {

// One run of the body. The body itself is the first thread, and runs in parallel with those it starts.
class Execution {
 public:
  // Starts a thread. The name (a literal) stands in traces.
  void thread(std::function<void()> function, const char* name = nullptr);
  // Waits until all threads have ended, and happens after them. Must be called before the body returns, as
  // the threads' lambdas refer to its variables. After it more threads may be started.
  void join();

 private:
  friend class detail::Engine;
  Execution() = default;
};

using Body = std::function<void(Execution&)>;

// Runs the body again and again, exhaustively or at random, until an execution fails or there are no more.
[[nodiscard]] Result explore(const Options& options, const Body& body);
[[nodiscard]] inline Result explore(const Body& body) { return explore(Options{}, body); }

// Runs the one execution that a failed Result's `choices` describe; the bounds are in the string.
[[nodiscard]] Result replay(const std::string& choices, const Body& body);

// Fails the execution with the text unless the condition holds. Inside explore() only.
void check(bool condition, std::string_view message, Where where = Where::current());

// One of 0 ... alternatives - 1; every one is tried.
[[nodiscard]] unsigned choose(unsigned alternatives);

// A spinning thread gives way: it goes on once another thread has stored something since its last yield.
void yield(Where where = Where::current());

// 0 in the body, then 1, 2 ... in the order of their start.
[[nodiscard]] unsigned thread_index();

}  // namespace fibrio::model

// `template <>` before the first use: include this header before code under test is instantiated.
template <>
inline void fibrio::detail::spin_pause<fibrio::model::Atomic>() noexcept {
  fibrio::model::yield();
}
