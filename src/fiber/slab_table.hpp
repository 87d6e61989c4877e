// What: which address ranges are slabs, readable from a signal handler.
// Threads: add and remove, any (a spin lock). find, any and also from a signal handler: no lock, no wait.
// Protocol: one slab = one 64-bit word (page number, size class, number of slots), so that a reader never
//   sees half an entry. Words live in chunks that are published with release, never move, and are freed with
//   the table only. A free word has page number 0 and links to the next free one.
// Rejected: a sorted vector (moves under the reader); reading the slab's own head (may just be unmapped).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/spin_lock.hpp"

namespace fibrio::detail {

class SlabTable {
 public:
  struct Entry {
    std::uintptr_t base;
    int size_class;
    unsigned slots;
  };
  static constexpr std::uint32_t kNoSlot = ~std::uint32_t{0};
  static constexpr unsigned kMaxSlots = 4095;  // what the word has bits for

  SlabTable() noexcept = default;
  SlabTable(const SlabTable&) = delete;
  SlabTable& operator=(const SlabTable&) = delete;
  ~SlabTable();

  // Returns the entry's number, or kNoSlot when there is no memory for it.
  [[nodiscard]] std::uint32_t add(const Entry& entry) noexcept;
  void remove(std::uint32_t number) noexcept;

  // Calls `visit(Entry)` for each slab until it returns true; returns whether it did.
  template <class Visit>
  bool find(Visit&& visit) const noexcept {
    for (const std::atomic<Word*>& published : chunks_) {
      // Acquire: pairs with the release in add; the words of the chunk are zeroed before.
      const Word* chunk = published.load(std::memory_order_acquire);
      if (chunk == nullptr) return false;
      for (std::size_t i = 0; i < kWordsPerChunk; ++i) {
        // Acquire: pairs with the release in add. (The reader only wants the word itself.)
        std::uint64_t word = chunk[i].load(std::memory_order_acquire);
        if (is_used(word) && visit(unpack(word))) return true;
      }
    }
    return false;
  }

 private:
  using Word = std::atomic<std::uint64_t>;
  static constexpr std::size_t kWordsPerChunk = 4096;
  static constexpr std::size_t kChunks = 256;  // a million slabs: 64 TiB of stacks

  static constexpr unsigned kSlotBits = 12;
  static constexpr unsigned kClassBits = 4;
  static constexpr unsigned kBaseShift = kSlotBits + kClassBits;
  static constexpr unsigned kPageShift = 12;  // the smallest page anywhere; 52 address bits fit

  static std::uint64_t pack(const Entry& entry) noexcept {
    return (std::uint64_t{entry.base} >> kPageShift) << kBaseShift |
           static_cast<std::uint64_t>(entry.size_class) << kSlotBits | entry.slots;
  }
  static Entry unpack(std::uint64_t word) noexcept {
    return {static_cast<std::uintptr_t>((word >> kBaseShift) << kPageShift),
            static_cast<int>(word >> kSlotBits & ((1U << kClassBits) - 1)),
            static_cast<unsigned>(word & ((1U << kSlotBits) - 1))};
  }
  static bool is_used(std::uint64_t word) noexcept { return word >> kFreeBits != 0; }

  // A free word holds 1 + the number of the next free one, or 0: below 2^21, and a used word is above.
  static constexpr unsigned kFreeBits = 21;

  [[nodiscard]] Word& word_locked(std::uint32_t number) noexcept {
    return chunks_[number / kWordsPerChunk].load(std::memory_order_relaxed)[number % kWordsPerChunk];
  }

  SpinLock lock_;
  std::uint32_t first_free_ = 0;  // 1 + number; 0: none
  std::uint32_t ever_used_ = 0;
  std::array<std::atomic<Word*>, kChunks> chunks_{};
};

}  // namespace fibrio::detail
