// What: StackFrame in words, and which frames of a stack are worth showing. Threads: any.
#include "fibrio/stack_frame.hpp"

#include <algorithm>
#include <initializer_list>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "introspect/symbols.hpp"
#include "task/loop_services.hpp"

namespace fibrio {

std::string StackFrame::function() const {
  return detail::demangled(detail::place_of(return_address_).symbol);
}
std::string StackFrame::module() const { return detail::place_of(return_address_).module; }
std::uintptr_t StackFrame::offset() const { return detail::place_of(return_address_).offset; }

std::ostream& operator<<(std::ostream& out, const StackFrame& frame) {
  const detail::Place place = detail::place_of(frame.return_address());
  const std::ios_base::fmtflags flags = out.flags();
  if (place.symbol.empty()) {
    out << frame.return_address();
  } else {
    out << detail::demangled(place.symbol);
  }
  if (!place.module.empty()) {
    out << " in " << place.module.substr(place.module.rfind('/') + 1) << " + 0x" << std::hex << place.offset;
  }
  out.flags(flags);
  return out;
}

namespace detail {
namespace {

bool begins_with_one_of(std::string_view symbol, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [symbol](std::string_view prefix) { return symbol.substr(0, prefix.size()) == prefix; });
}

// Mangled names say in the beginning which namespace it is.
bool is_of_fibrio(std::string_view symbol) {
  return begins_with_one_of(symbol, {"_ZN6fibrio", "_ZNK6fibrio"});
}
bool is_internal(std::string_view symbol) {
  return begins_with_one_of(
      symbol, {"_ZN6fibrio6detail", "_ZNK6fibrio6detail", "_ZZN6fibrio6detail", "_ZZNK6fibrio6detail"});
}
// What stands between the library's templates and a callable: std::invoke, std::apply, std::function.
bool is_standard(std::string_view symbol) { return begins_with_one_of(symbol, {"_ZSt", "_ZNSt", "_ZNKSt"}); }
// Calls the user's callable, which as a rule was inlined into it.
bool is_payload(std::string_view symbol) {
  return begins_with_one_of(symbol, {"_ZN6fibrio6detail11TaskPayload"});
}

}  // namespace

std::vector<StackFrame> user_frames(const std::vector<StackFrame>& stack, LibraryCall call) {
  std::vector<std::string> symbols;
  symbols.reserve(stack.size());
  for (const StackFrame& frame : stack) symbols.push_back(place_of(frame.return_address()).symbol);
  std::size_t first = 0;
  std::size_t last = stack.size();
  while (first != last && !is_payload(symbols[first]) &&
         (is_internal(symbols[first]) || is_standard(symbols[first]) ||
          (call == LibraryCall::kHide && is_of_fibrio(symbols[first])))) {
    ++first;
  }
  // If something of ours lies between payload and callable, the callable has a frame of its own.
  const auto is_between = [&](std::size_t i) {
    return !is_payload(symbols[i]) && (is_internal(symbols[i]) || is_standard(symbols[i]));
  };
  if (last - first > 1 && is_payload(symbols[last - 1]) && is_between(last - 2)) --last;
  while (last != first && is_between(last - 1)) --last;
  return {stack.begin() + static_cast<std::ptrdiff_t>(first),
          stack.begin() + static_cast<std::ptrdiff_t>(last)};
}

}  // namespace detail
}  // namespace fibrio
