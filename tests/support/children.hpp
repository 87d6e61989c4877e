// What: loops whose tests start child processes: none may be left afterwards, running or as a zombie.
#pragma once

#include <signal.h>
#include <sys/wait.h>

#include <string>
#include <string_view>

#include <fibrio/subprocess.hpp>

#include "support/net_loops.hpp"

namespace fibrio::net_test {

using namespace std::chrono_literals;

[[nodiscard]] inline bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

// As on_loops.
template <class Body>
void with_children(Body&& body, bool ignores_reports = false) {
  on_loops(body, ignores_reports);
  CHECK_FALSE(has_children());
}

inline Process shell(const std::string& command, SubprocessOptions options = {}) {
  return create_subprocess_shell(command, std::move(options));
}
inline void write_to(Process& process, std::string_view text) {
  process.stdin().write(text);
  process.stdin().drain();
}
inline void close_stdin(Process& process) { process.stdin().close(); }
// Reads so many bytes of its stdout, fewer only at the end.
inline std::string read_from(Process& process, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    const std::string part = process.stdout().read(static_cast<std::ptrdiff_t>(bytes - text.size()));
    if (part.empty()) break;
    text += part;
  }
  return text;
}

// What a shell command prints.
inline std::string output_of(const std::string& command, SubprocessOptions options = {}) {
  options.stdout = PIPE;
  Process process = shell(command, std::move(options));
  return process.communicate().first;
}

}  // namespace fibrio::net_test
