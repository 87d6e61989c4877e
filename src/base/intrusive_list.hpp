// What: a doubly linked list whose links live in its items: no allocation, O(1) removal of a known item.
// Threads: none of its own; the owner's lock guards it. An item is in at most one list per hook.
#pragma once

#include "base/check.hpp"

namespace fibrio::detail {

// Base class of what can be in a list. The Tag tells apart several hooks of one item.
template <class Tag = void>
class ListHook {
 public:
  [[nodiscard]] bool is_linked() const noexcept { return next_ != nullptr; }

 private:
  template <class, class>
  friend class IntrusiveList;
  ListHook* next_ = nullptr;
  ListHook* prev_ = nullptr;
};

template <class T, class Tag = void>
class IntrusiveList {
  using Hook = ListHook<Tag>;

 public:
  IntrusiveList() noexcept { reset(); }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  [[nodiscard]] bool empty() const noexcept { return head_.next_ == &head_; }
  [[nodiscard]] T* front() noexcept { return empty() ? nullptr : static_cast<T*>(head_.next_); }

  // Iteration: the item after `item`, or null. The current item may be removed once its next is known.
  [[nodiscard]] T* next(T* item) noexcept {
    Hook* hook = static_cast<Hook*>(item)->next_;
    return hook == &head_ ? nullptr : static_cast<T*>(hook);
  }

  void push_back(T* item) noexcept { insert_before(&head_, item); }
  void push_front(T* item) noexcept { insert_before(head_.next_, item); }

  T* pop_front() noexcept {
    T* item = front();
    if (item != nullptr) remove(item);
    return item;
  }

  // `item` must be in some list of this type; which one does not matter.
  static void remove(T* item) noexcept {
    Hook* hook = item;
    FIBRIO_DCHECK(hook->next_ != nullptr, "the item is in no list");
    hook->prev_->next_ = hook->next_;
    hook->next_->prev_ = hook->prev_;
    hook->next_ = nullptr;
    hook->prev_ = nullptr;
  }

  // Appends everything of `other`, which is then empty.
  void splice_back(IntrusiveList& other) noexcept {
    if (other.empty()) return;
    Hook* first = other.head_.next_;
    Hook* last = other.head_.prev_;
    first->prev_ = head_.prev_;
    head_.prev_->next_ = first;
    last->next_ = &head_;
    head_.prev_ = last;
    other.reset();
  }

 private:
  void reset() noexcept { head_.next_ = head_.prev_ = &head_; }
  static void insert_before(Hook* place, T* item) noexcept {
    Hook* hook = item;
    FIBRIO_DCHECK(hook->next_ == nullptr, "the item is in a list already");
    hook->prev_ = place->prev_;
    hook->next_ = place;
    place->prev_->next_ = hook;
    place->prev_ = hook;
  }

  Hook head_;
};

}  // namespace fibrio::detail
