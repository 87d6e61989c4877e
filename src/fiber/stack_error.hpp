// What: why there is no stack, in words: which limit was hit and how to raise it.
// Threads: any. Nothing here allocates: memory is what just ran out.
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace fibrio::detail {

// What failed. `error` is -errno of `call`; 0 with a null `call` when the size itself is impossible.
struct StackFailure {
  const char* call = nullptr;  // "mmap", "madvise", "mprotect"
  int error = 0;
  std::size_t bytes = 0;           // what the caller asked for
  std::size_t reserved_bytes = 0;  // address space the pool had by then
};

class StackLimitError : public std::bad_alloc {
 public:
  explicit StackLimitError(const StackFailure& failure) noexcept;

  [[nodiscard]] const char* what() const noexcept override { return text_.data(); }
  [[nodiscard]] const StackFailure& failure() const noexcept { return failure_; }

 private:
  StackFailure failure_;
  std::array<char, 512> text_;
};

}  // namespace fibrio::detail
