#include "base/intrusive_list.hpp"

#include <vector>

#include "support/catch.hpp"

namespace {

using fibrio::detail::IntrusiveList;
using fibrio::detail::ListHook;

struct ByAge;
struct ByName;

struct Item : ListHook<>, ListHook<ByAge>, ListHook<ByName> {
  explicit Item(int v) : value(v) {}
  int value;
};

using List = IntrusiveList<Item>;

std::vector<int> values_of(List& list) {
  std::vector<int> values;
  for (Item* item = list.front(); item != nullptr; item = list.next(item)) values.push_back(item->value);
  return values;
}

bool is_linked(const Item& item) { return static_cast<const ListHook<>&>(item).is_linked(); }

TEST_CASE("IntrusiveList is empty at first", "[intrusive_list]") {
  List list;
  REQUIRE(list.empty());
  REQUIRE(list.front() == nullptr);
  REQUIRE(list.pop_front() == nullptr);
}

TEST_CASE("IntrusiveList pops in the order of push_back", "[intrusive_list]") {
  Item a(1), b(2), c(3);
  List list;
  for (Item* item : {&a, &b, &c}) list.push_back(item);
  REQUIRE(list.pop_front() == &a);
  REQUIRE(list.pop_front() == &b);
  REQUIRE(list.pop_front() == &c);
  REQUIRE(list.empty());
}

TEST_CASE("IntrusiveList puts what push_front adds before everything else", "[intrusive_list]") {
  Item a(1), b(2), c(3);
  List list;
  list.push_back(&b);
  list.push_back(&c);
  list.push_front(&a);
  REQUIRE(values_of(list) == std::vector{1, 2, 3});
}

TEST_CASE("IntrusiveList removes a known item from the front, the middle and the back", "[intrusive_list]") {
  Item a(1), b(2), c(3), d(4);
  List list;
  for (Item* item : {&a, &b, &c, &d}) list.push_back(item);
  List::remove(&b);
  REQUIRE(values_of(list) == std::vector{1, 3, 4});
  List::remove(&a);
  REQUIRE(values_of(list) == std::vector{3, 4});
  List::remove(&d);
  REQUIRE(values_of(list) == std::vector{3});
  List::remove(&c);
  REQUIRE(list.empty());
}

TEST_CASE("ListHook is linked exactly while its item is in a list", "[intrusive_list]") {
  Item a(1), b(2);
  List list;
  REQUIRE_FALSE(is_linked(a));
  list.push_back(&a);
  list.push_back(&b);
  REQUIRE(is_linked(a));
  list.pop_front();
  REQUIRE_FALSE(is_linked(a));
  List::remove(&b);
  REQUIRE_FALSE(is_linked(b));
}

TEST_CASE("IntrusiveList takes an item again after its removal", "[intrusive_list]") {
  Item a(1), b(2);
  List first;
  List second;
  first.push_back(&a);
  first.push_back(&b);
  List::remove(&a);
  second.push_back(&a);
  REQUIRE(values_of(first) == std::vector{2});
  REQUIRE(values_of(second) == std::vector{1});
}

TEST_CASE("IntrusiveList allows removing the current item once the next is known", "[intrusive_list]") {
  Item a(1), b(2), c(3), d(4);
  List list;
  for (Item* item : {&a, &b, &c, &d}) list.push_back(item);
  for (Item *item = list.front(), *next = nullptr; item != nullptr; item = next) {
    next = list.next(item);
    if (item->value % 2 == 0) List::remove(item);
  }
  REQUIRE(values_of(list) == std::vector{1, 3});
}

TEST_CASE("IntrusiveList splices another list to its back and leaves that one empty", "[intrusive_list]") {
  Item a(1), b(2), c(3), d(4);
  List list;
  List other;
  list.push_back(&a);
  list.push_back(&b);
  other.push_back(&c);
  other.push_back(&d);

  list.splice_back(other);
  REQUIRE(values_of(list) == std::vector{1, 2, 3, 4});
  REQUIRE(other.empty());

  List::remove(&c);  // what was spliced belongs to the list it is in now
  REQUIRE(values_of(list) == std::vector{1, 2, 4});
  other.push_back(&c);
  REQUIRE(values_of(other) == std::vector{3});
}

TEST_CASE("IntrusiveList splices from and to empty lists", "[intrusive_list]") {
  Item a(1);
  List list;
  List other;
  list.splice_back(other);
  REQUIRE(list.empty());
  other.push_back(&a);
  list.splice_back(other);
  REQUIRE(values_of(list) == std::vector{1});
  list.splice_back(other);
  REQUIRE(values_of(list) == std::vector{1});
}

TEST_CASE("IntrusiveList keeps an item in one list per tag", "[intrusive_list]") {
  Item a(1), b(2);
  List list;
  IntrusiveList<Item, ByAge> by_age;
  IntrusiveList<Item, ByName> by_name;
  for (Item* item : {&a, &b}) {
    list.push_back(item);
    by_age.push_front(item);
    by_name.push_back(item);
  }
  list.pop_front();
  REQUIRE(list.front() == &b);
  REQUIRE(by_age.front() == &b);
  REQUIRE(by_age.next(&b) == &a);
  REQUIRE(by_name.front() == &a);
}

}  // namespace
