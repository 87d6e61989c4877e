// The header fields of a message.
//
//   fibrio::http::Fields fields = {{"Accept", "text/html"}};
//   fields.add("Cookie", "a=b");
//   if (fields.get("accept") == "text/html") ...
#pragma once

#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <string_view>
#include <utility>

namespace fibrio::http {

namespace detail {

// Text that grows at its end. A short one, as the fields of most responses are, costs no allocation.
class Text {
 public:
  Text() = default;
  Text(const Text& other) { append(other.view()); }
  Text(Text&& other) noexcept { take(other); }
  Text& operator=(const Text& other) {
    if (this == &other) return *this;
    clear();
    append(other.view());
    return *this;
  }
  Text& operator=(Text&& other) noexcept {
    if (this != &other) take(other);
    return *this;
  }
  ~Text() = default;

  [[nodiscard]] std::string_view view() const noexcept { return {data(), size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // Makes it `count` characters longer, and returns where they begin; what they are is open.
  char* extend(std::size_t count) {
    if (count > capacity_ - size_) grow(count);
    size_ += count;
    return data() + size_ - count;
  }
  // The same, keeping the memory before alive, for views into it, until `before` goes.
  char* extend(std::size_t count, std::unique_ptr<char[]>& before) {
    if (count > capacity_ - size_) before = grow(count);
    size_ += count;
    return data() + size_ - count;
  }
  // `text` may be a part of this one.
  void append(std::string_view text) {
    if (text.empty()) return;
    std::unique_ptr<char[]> before;
    char* const place = extend(text.size(), before);
    std::memcpy(place, text.data(), text.size());
  }
  void truncate(std::size_t size) noexcept { size_ = size; }
  void clear() noexcept { size_ = 0; }

 private:
  static constexpr std::size_t kShort = 96;

  [[nodiscard]] const char* data() const noexcept { return heap_ ? heap_.get() : short_; }
  [[nodiscard]] char* data() noexcept { return heap_ ? heap_.get() : short_; }
  // Returns the memory it had before; none if that was `short_`, which stays as it is.
  std::unique_ptr<char[]> grow(std::size_t count);
  void take(Text& other) noexcept {
    heap_ = std::move(other.heap_);
    if (!heap_) std::memcpy(short_, other.short_, other.size_);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, kShort);
  }

  std::unique_ptr<char[]> heap_;
  std::size_t size_ = 0;
  std::size_t capacity_ = kShort;
  char short_[kShort];
};

}  // namespace detail

// Names and values in their order; names are compared without case; a name may come several times. Kept as
// the text that goes over the wire, in one piece of memory; a look-up reads through it.
class Fields {
 public:
  struct Field {
    std::string_view name;
    std::string_view value;
  };
  class Iterator;

  Fields() = default;
  Fields(std::initializer_list<std::pair<std::string_view, std::string_view>> fields);

  // Adds a field after all others. Names and values may be views into the same fields, here and below.
  // Throws: std::invalid_argument if `name` is no token, or `value` has a control character (a line end would
  // begin a field of its own).
  void add(std::string_view name, std::string_view value);
  // Puts one field in place of all of that name.
  void set(std::string_view name, std::string_view value);
  // set("Content-Type", value), which most responses need, for less.
  void set_content_type(std::string_view value);
  // Returns how many there were.
  std::size_t erase(std::string_view name);
  void clear() noexcept {
    text_.clear();
    may_frame_ = false;
  }

  // The first one's value; empty if there is none. The view lives until the next change.
  [[nodiscard]] std::string_view get(std::string_view name) const noexcept;
  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  // Whether `token` is in the comma-separated lists of that name, compared without case ("Connection").
  [[nodiscard]] bool has_token(std::string_view name, std::string_view token) const noexcept;
  [[nodiscard]] bool empty() const noexcept { return text_.size() == 0; }
  [[nodiscard]] Iterator begin() const noexcept;
  [[nodiscard]] Iterator end() const noexcept;
  // "Name: value\r\n" for each; of received ones as they came, with less or more space around the value.
  // Lives until the next change.
  [[nodiscard]] std::string_view text() const noexcept { return text_.view(); }

  // For parsers, which have looked at them: adds whole fields, as text() gives them, without a check.
  void add_parsed(std::string_view lines) {
    text_.append(lines);
    may_frame_ = true;  // who passes them on looks at each
  }
  // True if one of them may say where a message ends, when it was made, or what becomes of its connection,
  // which is for who sends it to say.
  [[nodiscard]] bool may_frame() const noexcept { return may_frame_; }
  [[nodiscard]] static bool is_framing(std::string_view name) noexcept;

 private:
  void add_checked(std::string_view name, std::string_view value);

  detail::Text text_;
  bool may_frame_ = false;
};

class Fields::Iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = Field;
  using difference_type = std::ptrdiff_t;
  using pointer = const Field*;
  using reference = const Field&;

  Iterator() = default;
  explicit Iterator(std::string_view rest) noexcept : rest_(rest) { read(); }
  reference operator*() const noexcept { return field_; }
  pointer operator->() const noexcept { return &field_; }
  Iterator& operator++() noexcept {
    rest_.remove_prefix(length_);
    read();
    return *this;
  }
  Iterator operator++(int) noexcept {
    Iterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const Iterator& a, const Iterator& b) noexcept {
    return a.rest_.size() == b.rest_.size();
  }

 private:
  void read() noexcept;

  std::string_view rest_;
  std::size_t length_ = 0;
  Field field_;
};

inline Fields::Iterator Fields::begin() const noexcept { return Iterator(text()); }
inline Fields::Iterator Fields::end() const noexcept { return Iterator(); }

}  // namespace fibrio::http
