// What: the scheduler's constants, each with its reason. Changed only with a benchmark.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fibrio::detail {

// Items between two looks at epoll, the clock and the inject queue: what Go, tokio and userver use. A look
// costs about 130 ns, so 61 spread it to 2 ns each.
inline constexpr std::uint32_t kTicksPerPoll = 61;

// What a worker takes out of the inject queue at most: under its lock each of them is looked at, and those that were
// last touched elsewhere miss the cache (512: 7 % more for 100,000 cancelled tasks on two workers).
inline constexpr std::size_t kInjectShare = 128;

// Operations a task may do without suspending before it looks at its cancel and at the clock: 25 ns for each look, and
// with 0.5 ms of work for each operation a deadline is still met within 20 ms.
inline constexpr std::uint8_t kBudget = 32;
// So many looks, and it gives way (after 128 operations: tokio).
inline constexpr std::uint8_t kLooksPerYield = 4;
// A task that looks gives way at once, and the loop polls, if the worker has not polled for as long.
inline constexpr std::int64_t kLateLookNs = 500'000;

// Takes from the LIFO slot in a row (tokio): enough for a message exchange, few enough for the queue not to
// starve.
inline constexpr std::uint32_t kLifoRuns = 3;

// How often, while a tree of tasks is walked newest first, one of those that wait longest has its turn. Each look
// (61 steps) would widen the tree.
inline constexpr std::int64_t kOvertakenTurnNs = 100'000;

// A sleeper is woken for what waits in a worker's queue if that will take the worker as long as this: waking
// takes 5 us of the waker, and 35 to 70 us pass before a halted CPU runs. What turns out to take longer is
// noticed by the watch.
inline constexpr std::int64_t kWorthWakingNs = 20'000;
// A step's length before anything was measured: long, so that whoever waits first is helped at once.
inline constexpr std::int64_t kUnknownStepNs = 1'000'000;

// A running worker that has not polled for so long is stalled: neighbours with nothing to do run its reactor
// and timers. Less than the 0.3 ms that 61 requests take: an idle worker may well help a busy one.
inline constexpr std::int64_t kStalledAfterNs = 50'000;
// The same for neighbours that have work: what they take, they take away from caches that are warm. With 0.05
// ms an echo at full load on two workers, which the load generator preempts, costs 10 % more.
inline constexpr std::int64_t kStalledBesideWorkNs = 1'000'000;
// The watch over running workers: each 0.1 ms after a stall, growing up to 4 ms while there is none, so that
// no ready task waits for 5 ms beside a worker that sleeps. It costs the sleeper about 10 us each time.
inline constexpr std::int64_t kWatchMinNs = 100'000;
inline constexpr std::int64_t kWatchMaxNs = 4'000'000;
inline constexpr std::int64_t kWatchGrowth = 16;  // by one part of so many: to the maximum in 60 ms

// How often unused stacks and memory are looked for: given back after two to three looks, so within 2 s, also
// after a burst of a million.
inline constexpr std::int64_t kMaintenancePeriodNs = 250'000'000;
// A sleep that has no other end than the next look lasts as long at least: shorter ones are exact, by two system calls
// (see Poller).
inline constexpr std::int64_t kMaintenanceSleepNs = 50'000'000;
// Stacks whose pages are given back in one go: about 0.5 ms to 2 ms during which the worker does nothing
// else.
inline constexpr std::size_t kStacksPerTrim = 1024;
// With so few steps in a period the allocator's memory is given back, too: a service that has a little to do
// all the time would keep for ever what a burst took. It costs such a worker some new page faults, under 0.1
// % of its time.
inline constexpr std::uint64_t kFewSteps = 4096;

// How long a worker with nothing to do looks for the end of an offloaded call before it sleeps, if such calls are
// short there: as long as waking the pool's thread takes, and a little. After a vain look it leaves out the next few.
inline constexpr std::int64_t kCompletionSpinNs = 60'000;
inline constexpr std::uint32_t kSpinsLeftOut = 16;

// Virtual time. With fds open the clock jumps only when nothing comes for as long: loopback data that was sent is there
// within microseconds.
inline constexpr std::int64_t kLoopbackNs = 100'000;
// What only the outside world can end (a signal, an fd that somebody watches, a read without any timer) holds the clock
// for as long of real time in which nothing comes from there.
inline constexpr std::int64_t kOutsideNs = 1'000'000'000;

// Stealing: passes over all victims; the LIFO slot only in the last (Go has 4, but pauses between them).
inline constexpr int kStealPasses = 2;

}  // namespace fibrio::detail
