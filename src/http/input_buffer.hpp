// What: the bytes a connection has received and not used yet.
// Threads: its connection's task.
//
// It starts with a small piece of memory inside the connection, which is where most requests find all the
// room they need; what a thousand connections touch per request decides how many of them fit into the CPU's
// caches. The first read that fills it up moves it to the heap, at its full size, for the connection's life.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

namespace fibrio::http {

class InputBuffer {
 public:
  explicit InputBuffer(std::size_t full_size) : full_size_(full_size) {}
  InputBuffer(const InputBuffer&) = delete;
  InputBuffer& operator=(const InputBuffer&) = delete;

  [[nodiscard]] std::span<const char> data() const { return {memory_ + begin_, end_ - begin_}; }
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  // True if no more can come in before something is consumed.
  [[nodiscard]] bool is_full() const { return end_ - begin_ == full_size_; }

  void consume(std::size_t count) {
    begin_ += count;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Where the next bytes go. What is left of the last ones moves to the front first.
  [[nodiscard]] std::span<std::byte> space() {
    if (begin_ > 0) {
      std::memmove(memory_, memory_ + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (wants_more_ || end_ == size_) grow();
    return std::as_writable_bytes(std::span(memory_ + end_, size_ - end_));
  }
  void received(std::size_t count) {
    end_ += count;
    wants_more_ = end_ == size_;
  }

 private:
  static constexpr std::size_t kSmall = 2048;

  void grow() {
    if (size_ == full_size_) return;
    heap_ = std::make_unique_for_overwrite<char[]>(full_size_);
    std::memcpy(heap_.get(), memory_, end_);
    memory_ = heap_.get();
    size_ = full_size_;
  }

  const std::size_t full_size_;
  char* memory_ = small_;
  std::size_t size_ = kSmall;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool wants_more_ = false;
  std::unique_ptr<char[]> heap_;
  char small_[kSmall];
};

}  // namespace fibrio::http
