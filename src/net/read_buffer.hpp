// What: the bytes of a stream that came and were not read yet: one block of memory, taken from in front, filled
// behind.
//
// Threads: one at a time.
//
// Invariant: begin_ <= end_ <= capacity. The block is 4 KiB at first, is doubled when a read fills the room it
// was given, up to 64 KiB, and further only by what is not read; it shrinks again when it is empty and reads
// are short, so that an idle connection keeps a page.
//
// Rejected: std::string (it writes zeros where the system is about to write); a list of blocks (a separator may
// lie across two).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace fibrio::detail {

class ReadBuffer {
 public:
  [[nodiscard]] std::string_view view() const noexcept { return {block_.get() + begin_, end_ - begin_}; }
  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }

  // Takes the first bytes out; at most all.
  [[nodiscard]] std::string take(std::size_t bytes) {
    std::string taken(view().substr(0, bytes));
    skip(taken.size());
    return taken;
  }
  void skip(std::size_t bytes) noexcept {
    begin_ += bytes;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  void append(std::string_view data) {
    if (data.empty()) return;
    make_room(data.size());
    std::memcpy(block_.get() + end_, data.data(), data.size());
    end_ += data.size();
  }
  // Puts back what was taken.
  void put_back(std::string_view data) {
    std::string rest = take(size());
    append(data);
    append(rest);
  }

  // Room for a read; added() then says how much of it was used.
  [[nodiscard]] std::span<std::byte> room() {
    if (empty() && capacity_ > wanted_) {
      block_.reset();
      capacity_ = 0;
    }
    make_room(std::max(wanted_ - std::min(size(), wanted_ / 2), kSmall / 2));
    return std::as_writable_bytes(std::span(block_.get() + end_, capacity_ - end_));
  }
  void added(std::size_t bytes) noexcept {
    const std::size_t had = capacity_ - end_;
    if (bytes == had) wanted_ = std::min(wanted_ * 2, kLarge);
    if (bytes < had / 8) wanted_ = std::max(wanted_ / 2, kSmall);
    end_ += bytes;
  }

 private:
  static constexpr std::size_t kSmall = 4 * 1024;
  static constexpr std::size_t kLarge = 64 * 1024;

  void make_room(std::size_t bytes) {
    if (capacity_ - end_ >= bytes) return;
    const std::size_t kept = size();
    if (kept + bytes <= capacity_ && kept <= begin_) {
      std::memcpy(block_.get(), block_.get() + begin_, kept);
    } else {
      const std::size_t capacity = std::max(kept + bytes, kept > 0 ? 2 * kept : wanted_);
      std::unique_ptr<char[]> block(new char[capacity]);
      if (kept > 0) std::memcpy(block.get(), block_.get() + begin_, kept);
      block_ = std::move(block);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = kept;
  }

  std::unique_ptr<char[]> block_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t wanted_ = kSmall;  // the size of the block when there is nothing in it
};

}  // namespace fibrio::detail
