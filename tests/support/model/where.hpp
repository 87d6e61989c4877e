// What: a place in the source: std::source_location, which clang 14 does not have with libstdc++ 12.
#pragma once

namespace fibrio::model {

class Where {
 public:
  static constexpr Where current(const char* file = __builtin_FILE(),
                                 unsigned line = __builtin_LINE()) noexcept {
    Where here;
    here.file_ = file;
    here.line_ = line;
    return here;
  }
  [[nodiscard]] constexpr const char* file_name() const noexcept { return file_; }
  [[nodiscard]] constexpr unsigned line() const noexcept { return line_; }

 private:
  const char* file_ = "";
  unsigned line_ = 0;
};

}  // namespace fibrio::model
