#include "task/report.hpp"

#include <cstdio>

#include "fibrio/errors.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

std::string printable(const std::string& name) {
  constexpr std::size_t kAtMost = 128;
  std::string text = name.substr(0, kAtMost);
  for (char& letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte < ' ' || byte == 127) letter = '?';
  }
  if (name.size() > kAtMost) text += "...";
  return text;
}

std::string text_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return error.what();
  } catch (const CancelledError& error) {
    return error.what();
  } catch (const KeyboardInterrupt& error) {
    return error.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

void print_report(const std::string& message, const std::exception_ptr& exception, const AnyFuture& future) {
  std::string text = "fibrio: " + message;
  if (future.valid() && future.state()->kind() == FutureState::Kind::kTask) {
    text += " (task '" + printable(task_name(*future.state())) + "')";
  }
  if (exception != nullptr) text += ": " + text_of(exception);
  text += '\n';
  std::fputs(text.c_str(), stderr);
}

}  // namespace fibrio::detail
