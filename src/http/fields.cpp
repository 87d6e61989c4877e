#include "fibrio/http/fields.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "http/text.hpp"

namespace fibrio::http {

namespace {

void check_name(std::string_view name) {
  if (!is_token(name)) throw std::invalid_argument("http: no name of a field: '" + std::string(name) + "'");
}

void check_value(std::string_view name, std::string_view value) {
  if (!is_field_text(value))
    throw std::invalid_argument("http: a control character in the value of " + std::string(name));
}

}  // namespace

std::unique_ptr<char[]> detail::Text::grow(std::size_t count) {
  const std::size_t capacity = std::max(2 * capacity_, size_ + count);
  auto larger = std::make_unique_for_overwrite<char[]>(capacity);
  std::memcpy(larger.get(), data(), size_);
  capacity_ = capacity;
  return std::exchange(heap_, std::move(larger));
}

void Fields::Iterator::read() noexcept {
  if (rest_.empty()) return;
  const std::size_t colon = rest_.find(':');
  const std::size_t end = rest_.find('\r', colon);
  field_ = {rest_.substr(0, colon), trim(rest_.substr(colon + 1, end - colon - 1))};
  length_ = end + 2;
}

Fields::Fields(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  for (const auto& [name, value] : fields) add(name, value);
}

void Fields::add(std::string_view name, std::string_view value) {
  check_name(name);
  check_value(name, value);
  add_checked(name, trim(value));
}

void Fields::add_checked(std::string_view name, std::string_view value) {
  std::unique_ptr<char[]> before;  // `name` and `value` may be views into our own text
  char* place = text_.extend(name.size() + value.size() + 4, before);
  place = std::copy(name.begin(), name.end(), place);
  *place++ = ':';
  *place++ = ' ';
  place = std::copy(value.begin(), value.end(), place);
  *place++ = '\r';
  *place = '\n';
  may_frame_ = may_frame_ || is_framing(name);
}

bool Fields::is_framing(std::string_view name) noexcept {
  switch (name.size()) {
    case 4:
      return equals_without_case(name, "Date");
    case 10:
      return equals_without_case(name, "Connection");
    case 14:
      return equals_without_case(name, "Content-Length");
    case 17:
      return equals_without_case(name, "Transfer-Encoding");
    default:
      return false;
  }
}

void Fields::set_content_type(std::string_view value) {
  check_value("Content-Type", value);
  if (empty()) {
    add_checked("Content-Type", value);
  } else {
    set("Content-Type", value);
  }
}

void Fields::set(std::string_view name, std::string_view value) {
  check_name(name);
  check_value(name, value);
  Fields others;  // `name` or `value` may be views into our own text
  for (const Field& field : *this) {
    if (!equals_without_case(field.name, name)) others.add_checked(field.name, field.value);
  }
  others.add_checked(name, trim(value));
  *this = std::move(others);
}

std::size_t Fields::erase(std::string_view name) {
  Fields others;
  std::size_t count = 0;
  for (const Field& field : *this) {
    if (equals_without_case(field.name, name)) {
      ++count;
    } else {
      others.add_checked(field.name, field.value);
    }
  }
  if (count > 0) *this = std::move(others);
  return count;
}

std::string_view Fields::get(std::string_view name) const noexcept {
  for (const Field& field : *this) {
    if (equals_without_case(field.name, name)) return field.value;
  }
  return {};
}

bool Fields::contains(std::string_view name) const noexcept {
  return std::any_of(begin(), end(),
                     [name](const Field& field) { return equals_without_case(field.name, name); });
}

bool Fields::has_token(std::string_view name, std::string_view token) const noexcept {
  for (const Field& field : *this) {
    if (!equals_without_case(field.name, name)) continue;
    for (std::string_view list = field.value; !list.empty();) {
      if (equals_without_case(take_item(list, ','), token)) return true;
    }
  }
  return false;
}

}  // namespace fibrio::http
