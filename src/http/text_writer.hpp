// What: writes the header of a message to the end of a Text, piece by piece.
// Threads: its owner's.
// Invariant: place_ <= end_ <= the end of the Text. A piece that does not fit asks for more room first, so a
//   guess that is too low costs time and never writes past the end. What is not kept is taken back.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fibrio/http/fields.hpp"

namespace fibrio::http {

class TextWriter {
 public:
  // `expected`: how many bytes will be written, about.
  TextWriter(detail::Text& text, std::size_t expected)
      : text_(text), begin_(text.size()), place_(text.extend(expected)), end_(place_ + expected) {}
  // Without keep(), after an exception: what was written is taken back.
  ~TextWriter() { text_.truncate(begin_); }
  TextWriter(const TextWriter&) = delete;
  TextWriter& operator=(const TextWriter&) = delete;

  // `piece` must not be a part of the Text.
  TextWriter& operator<<(std::string_view piece) {
    if (piece.size() > room()) ask_for(piece.size());
    place_ = std::copy(piece.begin(), piece.end(), place_);
    return *this;
  }
  TextWriter& operator<<(std::uint64_t number) {
    if (kMaxDigits > room()) ask_for(kMaxDigits);
    place_ = std::to_chars(place_, end_, number).ptr;
    return *this;
  }

  void keep() { begin_ = static_cast<std::size_t>(place_ - text_.view().data()); }

 private:
  static constexpr std::size_t kMaxDigits = 20;
  static constexpr std::size_t kMoreRoom = 256;  // a guess: a few fields

  [[nodiscard]] std::size_t room() const { return static_cast<std::size_t>(end_ - place_); }
  void ask_for(std::size_t count) {
    text_.truncate(static_cast<std::size_t>(place_ - text_.view().data()));
    place_ = text_.extend(count + kMoreRoom);
    end_ = place_ + count + kMoreRoom;
  }

  detail::Text& text_;
  std::size_t begin_;
  char* place_;
  char* end_;
};

}  // namespace fibrio::http
