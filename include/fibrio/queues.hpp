// Queue, PriorityQueue, LifoQueue: items handed from tasks to tasks, as asyncio's queues.
//
//   fibrio::Queue<Job> jobs(100);
//   auto worker = fibrio::create_task([&] { for (;;) { work(jobs.get()); jobs.task_done(); } });
//   jobs.put(job); jobs.join();
//
// All of them may be shared by tasks of any worker and of any loop, and by plain threads; none is bound to a
// loop. A wait suspends the calling task; a plain thread that is no worker blocks, and cannot be cancelled.
// Inside a callback whatever would have to wait throws RuntimeError.
// Who waits is served first come, first served, getters and putters each. What one task puts comes out in the
// order in which it was put (Queue). With one worker everything happens in the pass in which it would with
// asyncio. As there, who is woken for an item or for room may find that another one, who did not wait, was
// faster: then it waits again, at the end. What was done before a put is seen after the get of that item.
// With several workers a task that has put or got many items without ever waiting lets others run. A cancel is delivered,
// now and then, also where put, get or join would not have to wait: then nothing was put in or taken.
//
// T need not be copyable or default-constructible. Its move constructor, its destructor (of what was moved
// from) and Compare run inside the queue's own lock: they must neither wait nor touch the queue. A queue
// allocates only when it holds more items than ever before.
// It may be destroyed while tasks are still in it that a cancel or a timeout is ending: they leave by CancelledError and
// touch it no more; those who were woken by shutdown() get QueueShutDown, those woken from join() return. So a queue may
// be destroyed right after its workers were cancelled, if each waits in get(). With several workers of the loop one may
// just be on its way there, and calls what is gone: await it then, or keep it on the strand of who destroys the queue.
// To destroy a queue while a task waits that nobody has cancelled ends the program, with a message. Whoever learned from
// it that a call has had its effect, as after join(), may destroy it at once.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "fibrio/detail/queue_core.hpp"
#include "fibrio/detail/queue_items.hpp"
#include "fibrio/errors.hpp"

namespace fibrio {

namespace detail {

// What the three have in common. Not for direct use.
template <class T, class Items>
class BasicQueue {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                "a queue holds values; use pointers for references");

 public:
  BasicQueue(const BasicQueue&) = delete;
  BasicQueue& operator=(const BasicQueue&) = delete;

  // Puts an item in.
  // Waits: while the queue is full. Cancel: CancelledError, the item is not put in; room that it was woken
  // for goes to the next putter. Throws: QueueShutDown; RuntimeError if it would have to wait inside a
  // callback; what moving a T throws, std::bad_alloc; the item is not in then. Threads: any. asyncio:
  // Queue.put.
  void put(T item) {
    core_.begin_put();
    push(std::move(item));
  }
  // Puts an item in without waiting. Throws: QueueFull, QueueShutDown; the item is lost then (see try_put).
  // Threads: any, callbacks too.
  void put_nowait(T item) {
    switch (core_.try_begin_put()) {
      case QueueCore::Begun::yes:
        push(std::move(item));
        return;
      case QueueCore::Begun::no:
        throw QueueFull();
      case QueueCore::Begun::shut_down:
        throw QueueShutDown();
    }
  }
  // Puts an item in, or returns false, and leaves the item alone, if the queue is full or shut down.
  [[nodiscard]] bool try_put(T&& item) {
    if (core_.try_begin_put() != QueueCore::Begun::yes) return false;
    push(std::move(item));
    return true;
  }
  [[nodiscard]] bool try_put(const T& item) { return try_put(T(item)); }

  // Takes an item out.
  // Waits: while the queue is empty. Cancel: CancelledError, no item is taken: one that it was woken for goes
  // to the next getter. Throws: QueueShutDown if it is shut down and empty; RuntimeError if it would have to
  // wait inside a callback; what moving a T throws; the item stays then. Threads: any. asyncio: Queue.get.
  [[nodiscard]] T get() {
    core_.begin_get();
    return take();
  }
  // Takes an item out without waiting. Throws: QueueEmpty; QueueShutDown if it is shut down and empty.
  // Threads: any, callbacks too.
  [[nodiscard]] T get_nowait() {
    switch (core_.try_begin_get()) {
      case QueueCore::Begun::yes:
        break;
      case QueueCore::Begun::no:
        throw QueueEmpty();
      case QueueCore::Begun::shut_down:
        throw QueueShutDown();
    }
    return take();
  }
  // Takes an item out; nothing if the queue is empty, shut down or not.
  [[nodiscard]] std::optional<T> try_get() {
    if (core_.try_begin_get() != QueueCore::Begun::yes) return std::nullopt;
    return take();
  }

  // The number of items, the limit (0: none), and what follows from them, at some moment during the call:
  // with several workers others may come in between; use try_put and try_get.
  [[nodiscard]] std::size_t qsize() const noexcept { return core_.size(); }
  [[nodiscard]] std::size_t maxsize() const noexcept { return core_.maxsize(); }
  [[nodiscard]] bool empty() const noexcept { return core_.size() == 0; }
  [[nodiscard]] bool full() const noexcept { return maxsize() != 0 && core_.size() >= maxsize(); }

  // Says that the work on an item that was got is done. Waits: no. Threads: any, callbacks too.
  // Throws: std::invalid_argument if called more often than items were put in (asyncio: ValueError).
  void task_done() { core_.task_done(); }
  // Returns when task_done was called for every item ever put in. Waits: unless that is so already.
  // Cancel: CancelledError, nothing else changes. Throws: RuntimeError if it would have to wait in a
  // callback.
  void join() { core_.join(); }

  // Refuses further items: who waits to put, or tries to, gets QueueShutDown. What is in can still be got;
  // who waits for, or asks for, more than that gets QueueShutDown. With `immediate` what is in is dropped, as
  // if it had been got and done. Waits: no. Threads: any, callbacks too. asyncio: Queue.shutdown.
  void shutdown(bool immediate = false) {
    typename Items::Storage dropped;  // destroyed when the lock is free
    core_.begin_shutdown();
    if (immediate) items_.swap(dropped);
    core_.end_shutdown(immediate);
  }

 protected:
  template <class... A>
  explicit BasicQueue(std::size_t maxsize, A&&... arguments)
      : items_(std::forward<A>(arguments)...), core_(maxsize) {}
  ~BasicQueue() = default;

 private:
  void push(T&& item) {
    PutTurn turn(core_);
    items_.push(std::move(item));
    turn.end();
  }
  T take() {
    GetTurn turn(core_);
    T item = items_.take();
    turn.end();
    return item;
  }

  Items items_;
  QueueCore core_;  // destroyed first: it waits for who is about to leave with an item
};

}  // namespace detail

// First in, first out.
template <class T>
class Queue : public detail::BasicQueue<T, detail::RingItems<T>> {
 public:
  // Holds at most `maxsize` items; 0: as many as there is memory for.
  explicit Queue(std::size_t maxsize = 0) : detail::BasicQueue<T, detail::RingItems<T>>(maxsize) {}
};

// The smallest first; in which order equal ones come is not specified.
template <class T, class Compare = std::less<T>>
class PriorityQueue : public detail::BasicQueue<T, detail::HeapItems<T, Compare>> {
 public:
  // Compare must not throw: that ends the program.
  explicit PriorityQueue(std::size_t maxsize = 0, Compare compare = Compare())
      : detail::BasicQueue<T, detail::HeapItems<T, Compare>>(maxsize, std::move(compare)) {}
};

// Last in, first out.
template <class T>
class LifoQueue : public detail::BasicQueue<T, detail::StackItems<T>> {
 public:
  explicit LifoQueue(std::size_t maxsize = 0) : detail::BasicQueue<T, detail::StackItems<T>>(maxsize) {}
};

}  // namespace fibrio
