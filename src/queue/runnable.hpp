// What: what can stand in a run queue, and a chain of such.
// Threads: none of its own: a Runnable belongs to whoever took it out, or to the queue it is in.
// Protocol: a Runnable is in at most one queue; only that queue touches `next`.
// Rejected: a virtual `run`: the loop's switch over the kind is one predictable branch, and needs no vtable
// in what the model checker builds by the thousand.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/sanitizers.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

class StrandState;

enum class RunnableKind : std::uint8_t { kTask, kCallback, kStrand };

struct Runnable {
  explicit Runnable(RunnableKind its_kind = RunnableKind::kTask) noexcept : kind(its_kind) {}
  Runnable(const Runnable&) = delete;
  Runnable& operator=(const Runnable&) = delete;

  Runnable* next = nullptr;
  StrandState* strand =
      nullptr;  // what it is on, with a reference; null: free. Set before it is queued first
  RunnableKind kind;
  // 7 spare bytes: the constructor makes this no POD, so that members of a derived class go there.
};

namespace runnable_layout {
struct Derived : Runnable {
  std::uint8_t flags[7];
};
static_assert(sizeof(Runnable) == 24 && sizeof(Derived) == 24);
}  // namespace runnable_layout

// Linked by `next`, the last one's is null. A plain value: copying it does not copy what is in it.
struct RunnableChain {
  Runnable* first = nullptr;
  Runnable* last = nullptr;
  std::size_t count = 0;

  [[nodiscard]] bool empty() const noexcept { return first == nullptr; }

  void push_back(Runnable* item) noexcept {
    item->next = nullptr;
    if (first == nullptr) {
      first = item;
    } else {
      last->next = item;
    }
    last = item;
    ++count;
  }

  void push_front(Runnable* item) noexcept {
    item->next = first;
    if (first == nullptr) last = item;
    first = item;
    ++count;
  }

  Runnable* pop_front() noexcept {
    Runnable* item = first;
    if (item == nullptr) return nullptr;
    first = item->next;
    if (first == nullptr) last = nullptr;
    item->next = nullptr;
    --count;
    return item;
  }

  // Appends all of `other`, which is then empty.
  void splice_back(RunnableChain& other) noexcept {
    if (other.first == nullptr) return;
    if (first == nullptr) {
      first = other.first;
    } else {
      last->next = other.first;
    }
    last = other.last;
    count += other.count;
    other = RunnableChain{};
  }
};

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
