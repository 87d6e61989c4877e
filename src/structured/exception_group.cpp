#include <string>
#include <utility>

#include "fibrio/errors.hpp"
#include "task/report.hpp"

namespace fibrio {
namespace {

std::string text_of_all(const std::string& message, const std::vector<std::exception_ptr>& exceptions) {
  if (exceptions.empty()) throw std::invalid_argument("ExceptionGroup: there are no exceptions");
  std::string text = message;
  text.append(" (").append(std::to_string(exceptions.size())).append(")");
  const char* separator = ": ";
  for (const std::exception_ptr& exception : exceptions) {
    if (exception == nullptr) throw std::invalid_argument("ExceptionGroup: an exception is null");
    text.append(separator).append(detail::text_of(exception));
    separator = "; ";
  }
  return text;
}

// The group that `exception` is, or nothing.
std::optional<ExceptionGroup> group_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const ExceptionGroup& group) {
    return group;
  } catch (...) {
    return std::nullopt;
  }
}

}  // namespace

ExceptionGroup::ExceptionGroup(const std::string& message, std::vector<std::exception_ptr> exceptions)
    : std::runtime_error(text_of_all(message, exceptions)),
      parts_(std::make_shared<const Parts>(Parts{message, std::move(exceptions)})) {}

bool ExceptionGroup::contains(Matches matches) const {
  for (const std::exception_ptr& member : exceptions()) {
    if (const auto group = group_of(member)) {
      if (group->contains(matches)) return true;
    } else if (matches(member)) {
      return true;
    }
  }
  return false;
}

std::pair<std::vector<std::exception_ptr>, std::vector<std::exception_ptr>> ExceptionGroup::split(
    Matches matches) const {
  std::pair<std::vector<std::exception_ptr>, std::vector<std::exception_ptr>> divided;
  for (const std::exception_ptr& member : exceptions()) {
    const auto group = group_of(member);
    if (!group) {
      (matches(member) ? divided.first : divided.second).push_back(member);
      continue;
    }
    auto inner = group->split(matches);
    if (inner.first.empty()) {
      divided.second.push_back(member);
    } else if (inner.second.empty()) {
      divided.first.push_back(member);
    } else {
      divided.first.push_back(
          std::make_exception_ptr(ExceptionGroup(group->message(), std::move(inner.first))));
      divided.second.push_back(
          std::make_exception_ptr(ExceptionGroup(group->message(), std::move(inner.second))));
    }
  }
  return divided;
}

}  // namespace fibrio
