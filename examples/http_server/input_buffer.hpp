// The bytes a connection has received and not used yet: one piece of memory for the connection's life.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

namespace http_server {

class InputBuffer {
 public:
  // The memory is not touched before bytes come in: an idle connection costs one page of it, not all.
  explicit InputBuffer(std::size_t capacity)
      : memory_(std::make_unique_for_overwrite<char[]>(capacity)), capacity_(capacity) {}

  [[nodiscard]] std::span<const char> data() const { return {memory_.get() + begin_, end_ - begin_}; }
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] bool full() const { return begin_ == 0 && end_ == capacity_; }

  void consume(std::size_t count) {
    begin_ += count;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Where the next bytes go. The rest of an earlier read moves to the front first.
  [[nodiscard]] std::span<std::byte> space() {
    if (begin_ > 0) {
      std::memmove(memory_.get(), memory_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return {reinterpret_cast<std::byte*>(memory_.get() + end_), capacity_ - end_};
  }
  void received(std::size_t count) { end_ += count; }

 private:
  std::unique_ptr<char[]> memory_;
  std::size_t capacity_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace http_server
