// What: blocks that the control blocks and states of a worker's tasks and futures left, for the next ones.
// Threads: the owner only. Blocks go where they are let go of; the allocator evens out between workers.
// Invariant: a block is kept in the list of its size, rounded up to kGranule; no list grows beyond kMost.
// Rejected: the allocator alone (190 instructions for a pair of calls; here 20); lists without a bound (after a
// burst the memory would stay with the worker); keeping them in sanitizer builds, which would not see uses after
// the end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/memory.hpp"
#include "base/sanitizers.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

class FrameCache {
 public:
  FrameCache() noexcept = default;
  FrameCache(const FrameCache&) = delete;
  FrameCache& operator=(const FrameCache&) = delete;
  ~FrameCache() { clear(); }

  // What to ask the allocator for, so that the block can be kept later.
  [[nodiscard]] static constexpr std::size_t rounded(std::size_t bytes) noexcept {
    return (bytes + kGranule - 1) / kGranule * kGranule;
  }

  // Null: there is none.
  [[nodiscard]] void* take(std::size_t bytes) noexcept {
    const std::size_t list = list_of(bytes);
    if (list >= kLists || lists_[list].first == nullptr) return nullptr;
    Block* block = lists_[list].first;
    lists_[list].first = block->next;
    --lists_[list].count;
    return block;
  }
  // False: it is not kept.
  [[nodiscard]] bool keep(void* memory, std::size_t bytes) noexcept {
    const std::size_t list = list_of(bytes);
    if (list >= kLists || lists_[list].count == kMost) return false;
    lists_[list].first = ::new (memory) Block{lists_[list].first};
    ++lists_[list].count;
    return true;
  }
  // A block of at least `bytes`: from the list, or of the allocator. Throws std::bad_alloc.
  [[nodiscard]] void* allocate(std::size_t bytes) {
    void* const kept = take(bytes);
    return kept != nullptr ? kept : allocate_block(rounded(bytes));
  }
  void clear() noexcept {
    for (List& list : lists_) {
      while (list.first != nullptr) {
        Block* block = list.first;
        list.first = block->next;
        free_block(block);
      }
      list.count = 0;
    }
  }

 private:
  struct Block {
    Block* next;
  };
  struct List {
    Block* first = nullptr;
    std::uint32_t count = 0;
  };
  static constexpr std::size_t kGranule = 64;
#if defined(FIBRIO_ASAN) || defined(FIBRIO_TSAN)
  static constexpr std::size_t kLists = 0;
#else
  static constexpr std::size_t kLists = 16;  // up to 1 KiB
#endif
  static constexpr std::uint32_t kMost = 256;  // 2 MiB in all if every list is full

  [[nodiscard]] static constexpr std::size_t list_of(std::size_t bytes) noexcept {
    return (bytes - 1) / kGranule;
  }

  std::array<List, kLists> lists_;
};

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
