// What: the arguments of the programs of bench/, read strictly: --help prints the usage and ends with 0; what is not
// known, not a number or out of range is refused by name, and ends with 2.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>

namespace bench {

class Arguments {
 public:
  Arguments(int count, char** words, const char* usage) : words_(words), end_(words + count), usage_(usage) {
    for (char** word = words_ + 1; word < end_; ++word) {
      if (std::string_view(*word) != "--help" && std::string_view(*word) != "-h") continue;
      std::printf("usage: %s\n", usage_);
      std::exit(0);
    }
  }

  // Goes on to the next word; false: there is none.
  bool next() { return words_ < end_ && ++words_ < end_; }
  [[nodiscard]] bool is(std::string_view name) const { return *words_ == name; }
  [[nodiscard]] std::string_view word() const { return *words_; }

  // The word here, as a number from `low` to `high`.
  template <class Number>
  [[nodiscard]] Number number(const std::string& name, Number low, Number high) const {
    const std::string_view text = *words_;
    Number value{};
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || rest != text.data() + text.size() || !(value >= low && value <= high)) {
      refuse(name + ": a number from " + shown(low) + " to " + shown(high) + " is wanted, not '" + *words_ +
             "'");
    }
    return value;
  }
  // The word after this one.
  [[nodiscard]] std::string_view value() {
    const std::string name = *words_;
    if (!next()) refuse(name + ": its value is missing");
    return *words_;
  }
  template <class Number>
  [[nodiscard]] Number value(Number low, Number high) {
    const std::string name = *words_;
    static_cast<void>(value());
    return number(name, low, high);
  }

  [[noreturn]] void refuse_unknown() const { refuse(std::string("unknown argument '") + *words_ + "'"); }
  [[noreturn]] void refuse(const std::string& why) const {
    std::fprintf(stderr, "%s\nusage: %s\n", why.c_str(), usage_);
    std::exit(2);
  }

 private:
  template <class Number>
  static std::string shown(Number number) {
    char text[32];
    *std::to_chars(text, text + sizeof text - 1, number).ptr = '\0';
    return text;
  }

  char** words_;
  char** end_;
  const char* usage_;
};

}  // namespace bench
