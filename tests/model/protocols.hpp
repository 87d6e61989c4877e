// What: what the model tests of the queues and protocols share: searches of the same size for all, and
// atomics that are too weak, to show that a test can fail.
#pragma once

#include <cstdint>
#include <memory>

#include "model/checker.hpp"
#include "queue/runnable.hpp"
#include "support/catch.hpp"
#include "support/model/model.hpp"

namespace fibrio::model::testing {

// Random executions per protocol; with the exhaustive searches all of them take about a minute.
inline constexpr std::uint64_t kRandomExecutions = 200'000;
// A seeded bug must show itself within so many.
inline constexpr std::uint64_t kMutantExecutions = 200'000;

// No failure in every execution with two preemptions, nor in 200,000 random ones.
inline void require_holds(const Body& body, Options options = {}) {
  const auto exhaustive = explore(options, body);
  CAPTURE(exhaustive.schedules);
  REQUIRE(exhaustive);
  REQUIRE(exhaustive.exhausted);
  options.random_schedules = kRandomExecutions;
  REQUIRE(explore(options, body));
}

// The seeded bug is found, by one search or the other.
inline void require_killed(const Body& body, Options options = {}) {
  options.max_schedules = kMutantExecutions;
  auto result = explore(options, body);
  if (result) {
    options.random_schedules = kMutantExecutions;
    result = explore(options, body);
  }
  CHECK_FALSE(result);
  CHECK(result.failure != Failure::kMisuse);
  CHECK(result.failure != Failure::kNondeterministic);
}

// As Atomic, but each operation asks for less than the code under test does. `Weaken` maps the order of
// loads, of stores and of read-modify-writes.
template <class T, class Weaken>
class WeakAtomic : public Atomic<T> {
  using Base = Atomic<T>;
  using Order = std::memory_order;

 public:
  using Base::Base;
  [[nodiscard]] T load(Order order) const noexcept { return Base::load(Weaken::load(order)); }
  void store(T value, Order order) noexcept { Base::store(value, Weaken::store(order)); }
  T exchange(T value, Order order) noexcept { return Base::exchange(value, Weaken::modify(order)); }
  T fetch_add(T value, Order order) noexcept { return Base::fetch_add(value, Weaken::modify(order)); }
  T fetch_sub(T value, Order order) noexcept { return Base::fetch_sub(value, Weaken::modify(order)); }
  T fetch_or(T value, Order order) noexcept { return Base::fetch_or(value, Weaken::modify(order)); }
  T fetch_and(T value, Order order) noexcept { return Base::fetch_and(value, Weaken::modify(order)); }
  bool compare_exchange_weak(T& expected, T desired, Order success, Order failure) noexcept {
    return Base::compare_exchange_weak(expected, desired, Weaken::modify(success), Weaken::load(failure));
  }
  bool compare_exchange_strong(T& expected, T desired, Order success, Order failure) noexcept {
    return Base::compare_exchange_strong(expected, desired, Weaken::modify(success), Weaken::load(failure));
  }
};

// seq_cst becomes acquire and release: what x86's plain instructions give.
struct DropSeqCst {
  using Order = std::memory_order;
  static Order load(Order order) { return order == Order::seq_cst ? Order::acquire : order; }
  static Order store(Order order) { return order == Order::seq_cst ? Order::release : order; }
  static Order modify(Order order) { return order == Order::seq_cst ? Order::acq_rel : order; }
};
// Nothing is published.
struct DropRelease {
  using Order = std::memory_order;
  static Order load(Order order) { return order; }
  static Order store(Order) { return Order::relaxed; }
  static Order modify(Order order) {
    if (order == Order::acq_rel || order == Order::seq_cst) return Order::acquire;
    return order == Order::release ? Order::relaxed : order;
  }
};

template <class T>
using NoSeqCst = WeakAtomic<T, DropSeqCst>;
template <class T>
using NoRelease = WeakAtomic<T, DropRelease>;

// Something to queue, and proof that it was taken once and was published.
struct Item : fibrio::detail::Runnable {
  Var<int> payload{0};
  Var<int> runs{0};

  void run() {
    check(payload.get() == 7, "the item's data came with it");
    runs.set(runs.get() + 1);
  }
};
inline void run(fibrio::detail::Runnable* item) {
  if (item != nullptr) static_cast<Item*>(item)->run();
}

}  // namespace fibrio::model::testing

template <>
inline void fibrio::detail::spin_pause<fibrio::model::testing::NoSeqCst>() noexcept {
  fibrio::model::yield();
}
template <>
inline void fibrio::detail::spin_pause<fibrio::model::testing::NoRelease>() noexcept {
  fibrio::model::yield();
}
