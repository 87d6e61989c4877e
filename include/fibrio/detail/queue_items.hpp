// The items of the three kinds of queues. Each: push, take (if the one or the other throws, nothing has
// changed), swap with a Storage: all of them out at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace fibrio::detail {

// First in, first out: a ring that grows by doubling, and never shrinks, so that a queue in its steady state
// does not allocate.
template <class T>
class RingItems {
 public:
  using Storage = RingItems;
  RingItems() noexcept = default;
  RingItems(const RingItems&) = delete;
  RingItems& operator=(const RingItems&) = delete;
  ~RingItems() {
    for (std::size_t i = 0; i < count_; ++i) std::destroy_at(at(i));
    release(slots_, capacity_);
  }

  void push(T&& item) {
    if (count_ == capacity_) grow();
    std::construct_at(at(count_), std::move(item));
    ++count_;
  }
  T take() {
    T* first = at(0);
    T item(std::move(*first));
    std::destroy_at(first);
    ++first_;
    --count_;
    return item;
  }
  void swap(RingItems& other) noexcept {
    std::swap(slots_, other.slots_);
    std::swap(capacity_, other.capacity_);
    std::swap(first_, other.first_);
    std::swap(count_, other.count_);
  }

 private:
  static constexpr std::size_t kFirstCapacity = 16;  // guess: most queues are short

  [[nodiscard]] T* at(std::size_t i) const noexcept { return slots_ + ((first_ + i) & (capacity_ - 1)); }
  static void release(T* slots, std::size_t capacity) noexcept {
    if (slots != nullptr) std::allocator<T>().deallocate(slots, capacity);
  }

  void grow() {
    const std::size_t capacity = capacity_ == 0 ? kFirstCapacity : 2 * capacity_;
    T* slots = std::allocator<T>().allocate(capacity);
    std::size_t moved = 0;
    try {
      for (; moved < count_; ++moved) std::construct_at(slots + moved, std::move_if_noexcept(*at(moved)));
    } catch (...) {
      std::destroy_n(slots, moved);
      release(slots, capacity);
      throw;
    }
    for (std::size_t i = 0; i < count_; ++i) std::destroy_at(at(i));
    release(slots_, capacity_);
    slots_ = slots;
    capacity_ = capacity;
    first_ = 0;
  }

  T* slots_ = nullptr;
  std::size_t capacity_ = 0;  // a power of two, or 0
  std::size_t first_ = 0;     // counts on; masked where it is used
  std::size_t count_ = 0;
};

// Last in, first out.
template <class T>
class StackItems {
 public:
  using Storage = std::vector<T>;
  void push(T&& item) { items_.push_back(std::move(item)); }
  T take() {
    T item(std::move(items_.back()));
    items_.pop_back();
    return item;
  }
  void swap(Storage& other) noexcept { items_.swap(other); }

 private:
  std::vector<T> items_;
};

// The smallest first, by Compare, which must not throw.
template <class T, class Compare>
class HeapItems {
 public:
  using Storage = std::vector<T>;
  explicit HeapItems(Compare compare = Compare()) : is_less_(std::move(compare)) {}

  void push(T&& item) {
    items_.push_back(std::move(item));
    std::push_heap(items_.begin(), items_.end(), Greater{is_less_});
  }
  T take() {
    std::pop_heap(items_.begin(), items_.end(), Greater{is_less_});
    T item(std::move(items_.back()));
    items_.pop_back();
    return item;
  }
  void swap(Storage& other) noexcept { items_.swap(other); }

 private:
  // noexcept: half a heap could not be repaired.
  struct Greater {
    const Compare& is_less;
    bool operator()(const T& a, const T& b) const noexcept { return is_less(b, a); }
  };

  Compare is_less_;
  std::vector<T> items_;
};

}  // namespace fibrio::detail
