#include "fiber/slab_table.hpp"

#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace fibrio::detail;

namespace {

constexpr std::uintptr_t kBase = 0x7f00'0000'0000;
constexpr std::uintptr_t kStep = 0x10'0000;

std::vector<SlabTable::Entry> all_of(const SlabTable& table) {
  std::vector<SlabTable::Entry> all;
  table.find([&](const SlabTable::Entry& entry) {
    all.push_back(entry);
    return false;
  });
  return all;
}

}  // namespace

TEST_CASE("SlabTable gives entries back as they came", "[slab_table]") {
  SlabTable table;
  REQUIRE(table.add({kBase, 12, 819}) != SlabTable::kNoSlot);
  REQUIRE(table.add({(std::uintptr_t{1} << 52) - 4096, 0, SlabTable::kMaxSlots}) != SlabTable::kNoSlot);
  auto all = all_of(table);
  REQUIRE(all.size() == 2);
  CHECK(all[0].base == kBase);
  CHECK(all[0].size_class == 12);
  CHECK(all[0].slots == 819);
  CHECK(all[1].base == (std::uintptr_t{1} << 52) - 4096);
  CHECK(all[1].size_class == 0);
  CHECK(all[1].slots == SlabTable::kMaxSlots);
}

TEST_CASE("SlabTable grows over several chunks and forgets what is removed", "[slab_table]") {
  SlabTable table;
  std::vector<std::uint32_t> numbers;
  for (std::uintptr_t i = 0; i < 10'000; ++i) numbers.push_back(table.add({kBase + i * kStep, 1, 1}));
  CHECK(all_of(table).size() == 10'000);
  for (std::uint32_t number : numbers) table.remove(number);
  CHECK(all_of(table).empty());
}

TEST_CASE("SlabTable uses the numbers of removed entries again", "[slab_table]") {
  SlabTable table;
  std::uint32_t first = table.add({kBase, 1, 1});
  std::uint32_t second = table.add({kBase + kStep, 1, 1});
  for (int i = 0; i < 10; ++i) {
    table.remove(first);
    table.remove(second);
    CHECK(table.add({kBase, 1, 1}) == second);
    CHECK(table.add({kBase + kStep, 1, 1}) == first);
    std::swap(first, second);
  }
  CHECK(all_of(table).size() == 2);
}
