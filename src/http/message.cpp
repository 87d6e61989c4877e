#include "fibrio/http/message.hpp"

#include <algorithm>

#include "http/text.hpp"

namespace fibrio::http {

namespace {

constexpr std::size_t kReadStep = 16 * 1024;  // what is believed beforehand of a length that is only said

std::string describe(unsigned status, std::string_view detail) {
  std::string text = std::to_string(status);
  if (const std::string_view reason = reason_of(status); !reason.empty()) text.append(" ").append(reason);
  if (!detail.empty()) text.append(": ").append(detail);
  return text;
}

// Takes the next "name=value" off the text of a form, still encoded.
std::pair<std::string_view, std::string_view> take_pair(std::string_view& text) {
  const std::string_view pair = text.substr(0, text.find('&'));
  text.remove_prefix(std::min(pair.size() + 1, text.size()));
  const std::size_t equals = std::min(pair.find('='), pair.size());
  return {pair.substr(0, equals), pair.substr(std::min(equals + 1, pair.size()))};
}

}  // namespace

Form parse_form(std::string_view text, std::size_t max_pairs) {
  Form form;
  while (!text.empty()) {
    const bool is_empty = text.starts_with('&');
    const auto [name, value] = take_pair(text);
    if (is_empty) continue;
    if (form.size() == max_pairs)
      throw HttpError(413, "a form of more than " + std::to_string(max_pairs) + " fields");
    form.emplace_back(form_decode(name), form_decode(value));
  }
  return form;
}

std::string encode_form(const Form& form) {
  std::string text;
  for (const auto& [name, value] : form) {
    text.append(text.empty() ? "" : "&").append(percent_encode(name, true)).append("=");
    text.append(percent_encode(value, true));
  }
  return text;
}

std::optional<std::string_view> value_of(const Form& form, std::string_view name) {
  for (const auto& [key, value] : form) {
    if (key == name) return value;
  }
  return std::nullopt;
}

HttpError::HttpError(unsigned status, const std::string& text)
    : std::runtime_error(describe(status, text)), status_(status) {
  if (status < 400 || status > 599) throw std::invalid_argument("HttpError: a status from 400 to 599");
}

std::string_view Request::query() const noexcept {
  return std::string_view(target_).substr(std::min(path_size_ + 1, target_.size()));
}

std::optional<std::string> Request::query(std::string_view name) const {
  for (std::string_view rest = query(); !rest.empty();) {
    const auto [key, value] = take_pair(rest);
    if (form_decode(key) == name) return form_decode(value);
  }
  return std::nullopt;
}

const std::string& Request::parameter(std::string_view name) const {
  for (const auto& [key, value] : parameters_) {
    if (key == name) return value;
  }
  throw std::out_of_range("http: the route has no parameter '" + std::string(name) + "'");
}

std::string Request::read_all() {
  std::string text;
  std::size_t used = 0;
  for (;;) {
    if (used == text.size()) {
      if (content_length_ == used) break;
      // Memory follows what has come: twice that at most.
      const std::uint64_t rest = content_length_ ? *content_length_ - used : std::uint64_t{kReadStep} + used;
      text.resize(used + static_cast<std::size_t>(std::min<std::uint64_t>(rest, std::max(kReadStep, used))));
    }
    const std::size_t count = read_some(std::as_writable_bytes(std::span(text).subspan(used)));
    if (count == 0) break;
    used += count;
  }
  text.resize(used);
  return text;
}

Form Request::read_form() {
  std::string_view type = field("Content-Type");
  if (!equals_without_case(take_item(type, ';'), kFormType))
    throw HttpError(415, "the body must be " + std::string(kFormType));
  return parse_form(read_all());
}

Response::Response(std::string text, std::string_view content_type, unsigned status_code)
    : status(status_code), body(std::move(text)) {
  fields.set_content_type(content_type);
}

Response error_response(unsigned status, std::string_view detail) {
  return Response(describe(status, detail) + '\n', "text/plain; charset=utf-8", status);
}

}  // namespace fibrio::http
