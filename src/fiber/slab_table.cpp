#include "fiber/slab_table.hpp"

#include <memory>
#include <mutex>
#include <new>

namespace fibrio::detail {

SlabTable::~SlabTable() {
  for (std::atomic<Word*>& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
}

std::uint32_t SlabTable::add(const Entry& entry) noexcept {
  std::unique_lock hold(lock_);
  for (;;) {
    if (first_free_ != 0) {
      std::uint32_t number = first_free_ - 1;
      first_free_ = static_cast<std::uint32_t>(word_locked(number).load(std::memory_order_relaxed));
      // Release: pairs with the acquire in find.
      word_locked(number).store(pack(entry), std::memory_order_release);
      return number;
    }
    if (ever_used_ == kChunks * kWordsPerChunk) return kNoSlot;
    std::uint32_t number = ever_used_;
    std::atomic<Word*>& chunk = chunks_[number / kWordsPerChunk];
    if (chunk.load(std::memory_order_relaxed) != nullptr) {
      ++ever_used_;
      word_locked(number).store(pack(entry), std::memory_order_release);
      return number;
    }
    // The allocator may enter the kernel: not under the lock.
    hold.unlock();
    std::unique_ptr<Word[]> words(new (std::nothrow) Word[kWordsPerChunk]());
    if (words == nullptr) return kNoSlot;
    hold.lock();
    // Release: the handler must not see the chunk before its zeroes. Somebody else may have been faster.
    if (chunk.load(std::memory_order_relaxed) == nullptr) {
      chunk.store(words.release(), std::memory_order_release);
    }
  }
}

void SlabTable::remove(std::uint32_t number) noexcept {
  std::lock_guard hold(lock_);
  word_locked(number).store(first_free_, std::memory_order_relaxed);
  first_free_ = number + 1;
}

}  // namespace fibrio::detail
