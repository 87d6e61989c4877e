// What: std::atomic as the model checker sees it. Every operation is a point where another thread may run.
// Orders have no defaults: the house rule of explicit orders is checked by the compiler here.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "support/model/engine.hpp"

namespace fibrio::model {

template <class T>
class Atomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t),
                "model::Atomic holds integers, bools, enums, pointers and structs of up to 8 bytes");
  using Engine = detail::Engine;

 public:
  using value_type = T;
  static constexpr bool is_always_lock_free = true;

  Atomic(Where where = Where::current()) noexcept : Atomic(T{}, where) {}
  Atomic(T value, Where where = Where::current()) noexcept
      : handle_(Engine::is_running()
                    ? Engine::running().make(detail::Kind::kAtomic, this, to_word(value), where)
                    : Engine::kNoHandle) {}
  ~Atomic() { Engine::destroy(handle_, this, Where::current()); }
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  [[nodiscard]] bool is_lock_free() const noexcept { return true; }
  // The name (a literal) stands in traces.
  Atomic& named(const char* name) {
    Engine::running().set_name(handle_, this, name);
    return *this;
  }

  [[nodiscard]] T load(std::memory_order order, Where where = Where::current()) const noexcept {
    return from_word(Engine::running().load(handle_, this, order, where));
  }
  void store(T value, std::memory_order order, Where where = Where::current()) noexcept {
    Engine::running().store(handle_, this, to_word(value), order, where);
  }
  T exchange(T value, std::memory_order order, Where where = Where::current()) noexcept {
    return modify([](std::uint64_t, std::uint64_t operand) { return operand; }, value, order, where,
                  "exchange");
  }

  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure,
                               Where where = Where::current()) noexcept {
    return compare_exchange(expected, desired, success, failure, false, where);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order,
                               Where where = Where::current()) noexcept {
    return compare_exchange(expected, desired, order, failure_order(order), false, where);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure,
                             Where where = Where::current()) noexcept {
    return compare_exchange(expected, desired, success, failure, true, where);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order,
                             Where where = Where::current()) noexcept {
    return compare_exchange(expected, desired, order, failure_order(order), true, where);
  }

  T fetch_add(T operand, std::memory_order order,
              Where where = Where::current()) noexcept requires std::integral<T> {
    return modify([](std::uint64_t value,
                     std::uint64_t n) { return to_word(static_cast<T>(from_word(value) + from_word(n))); },
                  operand, order, where, "fetch_add");
  }
  T fetch_sub(T operand, std::memory_order order,
              Where where = Where::current()) noexcept requires std::integral<T> {
    return modify([](std::uint64_t value,
                     std::uint64_t n) { return to_word(static_cast<T>(from_word(value) - from_word(n))); },
                  operand, order, where, "fetch_sub");
  }
  T fetch_add(std::ptrdiff_t operand, std::memory_order order,
              Where where = Where::current()) noexcept requires std::is_pointer_v<T> {
    return modify_word(
        [](std::uint64_t value, std::uint64_t n) {
          return to_word(from_word(value) + static_cast<std::ptrdiff_t>(n));
        },
        static_cast<std::uint64_t>(operand), order, where, "fetch_add");
  }
  T fetch_sub(std::ptrdiff_t operand, std::memory_order order,
              Where where = Where::current()) noexcept requires std::is_pointer_v<T> {
    return fetch_add(-operand, order, where);
  }
  T fetch_and(T operand, std::memory_order order,
              Where where = Where::current()) noexcept requires std::integral<T> {
    return modify([](std::uint64_t value, std::uint64_t n) { return value & n; }, operand, order, where,
                  "fetch_and");
  }
  T fetch_or(T operand, std::memory_order order,
             Where where = Where::current()) noexcept requires std::integral<T> {
    return modify([](std::uint64_t value, std::uint64_t n) { return value | n; }, operand, order, where,
                  "fetch_or");
  }
  T fetch_xor(T operand, std::memory_order order,
              Where where = Where::current()) noexcept requires std::integral<T> {
    return modify([](std::uint64_t value, std::uint64_t n) { return value ^ n; }, operand, order, where,
                  "fetch_xor");
  }

 private:
  static std::uint64_t to_word(T value) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    return word;
  }
  static T from_word(std::uint64_t word) noexcept {
    T value;
    std::memcpy(&value, &word, sizeof value);
    return value;
  }
  // As the standard derives it from the order of success.
  static constexpr std::memory_order failure_order(std::memory_order order) noexcept {
    if (order == std::memory_order_acq_rel) return std::memory_order_acquire;
    if (order == std::memory_order_release) return std::memory_order_relaxed;
    return order;
  }
  T modify_word(Engine::Apply apply, std::uint64_t operand, std::memory_order order, Where where,
                const char* what) noexcept {
    return from_word(Engine::running().modify(handle_, this, apply, operand, order, where, what));
  }
  T modify(Engine::Apply apply, T operand, std::memory_order order, Where where, const char* what) noexcept {
    return modify_word(apply, to_word(operand), order, where, what);
  }
  bool compare_exchange(T& expected, T desired, std::memory_order success, std::memory_order failure,
                        bool weak, Where where) noexcept {
    std::uint64_t word = to_word(expected);
    const bool exchanged = Engine::running().compare_exchange(handle_, this, word, to_word(desired), success,
                                                              failure, weak, where);
    if (!exchanged) expected = from_word(word);
    return exchanged;
  }

  Engine::Handle handle_;
};

}  // namespace fibrio::model
