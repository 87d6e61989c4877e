// What: from an address in the code to the file it is in and the function's name there.
//
// Threads: any.
//
// The names come from the file's .symtab, which has static functions and lambdas too: that is what tasks are
// made of. A stripped file has only what it exports (dladdr). Each file is read once, at the first question
// about it, and what was read is kept.
//
// Rejected: dladdr alone (of a program without -rdynamic it knows no function at all); backtrace_symbols (the
// same); line numbers (a DWARF reader is a library of its own: addr2line has one, and the offset is for it).
#pragma once

#include <cstdint>
#include <string>

namespace fibrio::detail {

struct Place {
  std::string module;         // path; empty: in no file
  std::uintptr_t offset = 0;  // in it, as addr2line counts
  std::string symbol;         // mangled; empty: not known, or the calling task's stack is too small to look
};

// Of the call that returns to `return_address`.
[[nodiscard]] Place place_of(const void* return_address);

// The name as the source has it; as it was, if it is none of C++'s, or the calling task's stack has no room
// for the work.
[[nodiscard]] std::string demangled(const std::string& symbol);

}  // namespace fibrio::detail
