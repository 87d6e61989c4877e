#include "queue/local_queue.hpp"

#include "support/catch.hpp"
#include "unit/queue/items.hpp"

namespace fibrio::detail {

TEST_CASE("LocalQueue is first in, first out", "[local_queue]") {
  Items items(1000);
  LocalQueue queue;
  CHECK(queue.empty());
  CHECK(queue.pop_front() == nullptr);
  for (std::size_t id = 0; id < 1000; ++id) queue.push_back(items[id]);
  CHECK(queue.size() == 1000);
  CHECK(drain(queue) == range(0, 1000));
  CHECK(queue.empty());
  CHECK(queue.size() == 0);
}

TEST_CASE("LocalQueue::push_front goes before all others", "[local_queue]") {
  Items items(3);
  LocalQueue queue;
  queue.push_front(items[1]);
  queue.push_back(items[2]);
  queue.push_front(items[0]);
  CHECK(drain(queue) == range(0, 3));
}

TEST_CASE("LocalQueue::splice_back appends and empties the other", "[local_queue]") {
  Items items(9);
  LocalQueue queue;
  LocalQueue other;
  queue.splice_back(other);
  CHECK(queue.empty());
  for (std::size_t id = 0; id < 3; ++id) other.push_back(items[id]);
  queue.splice_back(other);
  CHECK(other.empty());
  for (std::size_t id = 3; id < 6; ++id) other.push_back(items[id]);
  queue.splice_back(other);
  queue.splice_back(items.chain(6, 8));
  queue.push_back(items[8]);
  CHECK(queue.size() == 9);
  CHECK(drain(queue) == range(0, 9));
  other.push_back(items[0]);
  CHECK(drain(other) == range(0, 1));
}

TEST_CASE("LocalQueue::take_all leaves an empty queue", "[local_queue]") {
  Items items(4);
  LocalQueue queue;
  queue.splice_back(items.chain(0, 3));
  RunnableChain all = queue.take_all();
  CHECK(queue.empty());
  CHECK(all.count == 3);
  CHECK(drain(all) == range(0, 3));
  queue.push_back(items[3]);
  CHECK(drain(queue) == range(3, 4));
}

}  // namespace fibrio::detail
