// One frame of a stack that was captured: an address, put into words when somebody asks.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

namespace fibrio {

// An address in the code. Costs nothing to keep; each question below looks it up in the symbol tables of the
// program and its libraries, which are read once per file. Threads: any.
class StackFrame {
 public:
  StackFrame() noexcept = default;
  explicit StackFrame(const void* return_address) noexcept : return_address_(return_address) {}

  // Where the call would return to; of the innermost frame of a running task: where it stands.
  [[nodiscard]] const void* return_address() const noexcept { return return_address_; }
  // Returns the function's name, demangled; empty if the file was stripped, or has no name for it.
  [[nodiscard]] std::string function() const;
  // Returns the path of the program or library; empty if the address lies in none.
  [[nodiscard]] std::string module() const;
  // Returns the place of the call in that file: what `addr2line -Cfie <module> <offset>` takes.
  [[nodiscard]] std::uintptr_t offset() const;

  friend bool operator==(const StackFrame& a, const StackFrame& b) noexcept = default;

 private:
  const void* return_address_ = nullptr;
};

// "function() in program + 0x1234"
std::ostream& operator<<(std::ostream& out, const StackFrame& frame);

}  // namespace fibrio
