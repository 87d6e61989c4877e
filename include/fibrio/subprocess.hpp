// Child processes, as asyncio's: programs started without fork, waited for without blocking, killed without
// races.
//
//   using fibrio::PIPE;
//   auto sort = fibrio::create_subprocess_exec({"sort", "-n"}, {.stdin = PIPE, .stdout = PIPE});
//   const auto [text, errors] = sort.communicate("3\n1\n2\n");
//   if (sort.wait() != 0) throw ...;
//
// A child gets the standard streams and pass_fds, no other descriptor; default actions for the signals that
// are handled here, and an empty signal mask. Needs Linux 5.4.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fibrio/streams.hpp"

namespace fibrio {

namespace detail {
class ProcessState;
struct Spawner;
}  // namespace detail

// What one of a child's standard streams is: by default ours, or one of the constants below, or a copy of an
// fd.
class Redirect {
 public:
  enum class Kind { kInherit, kPipe, kStdout, kDevnull, kFd };
  constexpr Redirect() noexcept = default;
  constexpr Redirect(int fd) noexcept : kind_(Kind::kFd), fd_(fd) {}  // NOLINT: as in asyncio
  constexpr explicit Redirect(Kind kind) noexcept : kind_(kind) {}
  [[nodiscard]] constexpr Kind kind() const noexcept { return kind_; }
  [[nodiscard]] constexpr int fd() const noexcept { return fd_; }

 private:
  Kind kind_ = Kind::kInherit;
  int fd_ = -1;
};
inline constexpr Redirect PIPE{Redirect::Kind::kPipe};        // a pipe, whose other end the Process has
inline constexpr Redirect STDOUT{Redirect::Kind::kStdout};    // for stderr: where stdout goes
inline constexpr Redirect DEVNULL{Redirect::Kind::kDevnull};  // /dev/null

// What happens to a child that still runs when its Process is destroyed, or the loop is closed.
enum class OnDrop {
  kKill,    // it gets SIGKILL
  kDetach,  // it goes on
};

struct SubprocessOptions {
  Redirect stdin{};
  Redirect stdout{};
  Redirect stderr{};
  std::string cwd{};                                        // empty: ours
  std::optional<std::map<std::string, std::string>> env{};  // nothing: ours
  bool start_new_session = false;                           // setsid
  std::optional<int> process_group{};                       // setpgid; 0: a new one
  std::vector<int> pass_fds{};                              // stay open, with their numbers
  std::size_t limit = kStreamLimit;                         // of the readers of stdout and stderr
  OnDrop on_drop = OnDrop::kKill;
};

// A child process. Movable; one that was moved from may only be assigned and destroyed. Whatever becomes of
// it, no zombie is left: its end is noticed and taken by the loop that started it. Destroying it closes the
// pipes (what stdin has not sent yet is dropped) and does what on_drop says, without waiting. Do not move or
// destroy it while a task is inside communicate.
class Process {
 public:
  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  [[nodiscard]] int pid() const noexcept;
  // The exit status; the negative number of the signal that ended it; nothing as long as the loop knows of no
  // end. 255 if somebody else has taken the status (waitpid(-1), an ignored SIGCHLD): the exception handler
  // is told.
  [[nodiscard]] std::optional<int> returncode() const noexcept;

  // Our ends of the pipes. Assign a StreamReader() to close one that is read. Throws: RuntimeError unless the
  // option was PIPE. asyncio: the attributes, which are None then.
  [[nodiscard]] StreamWriter& stdin() const;
  [[nodiscard]] StreamReader& stdout() const;
  [[nodiscard]] StreamReader& stderr() const;

  // Returns the status when the child has ended. A child that writes into a pipe which nobody reads never
  // does: use communicate then. Waits: unless it has ended. Cancel: CancelledError, the child goes on.
  // Threads: any number of tasks, and plain threads.
  int wait();
  // Writes `input` to stdin and closes it, reads stdout and stderr to their ends (an empty text for what is
  // no pipe), and waits for the end. A child that does not want all of the input is no error.
  // Waits: yes. Cancel: CancelledError; what was read is lost, the child goes on. Throws:
  // std::invalid_argument for an input if stdin is no pipe; std::system_error.
  std::pair<std::string, std::string> communicate(std::optional<std::string_view> input = {});

  // Sends a signal, never to another process. Throws: std::system_error(ESRCH) once the child has ended and
  // the loop knows; EINVAL for a number that is no signal. Threads: any. asyncio: ProcessLookupError.
  void send_signal(int signal);
  void terminate();  // SIGTERM
  void kill();       // SIGKILL

 private:
  friend struct detail::Spawner;
  struct Parts;
  explicit Process(std::unique_ptr<Parts> parts) noexcept;
  std::unique_ptr<Parts> parts_;
};

// Starts a program: its name, looked for in PATH unless it has a slash, and its arguments.
// Waits: no; the worker stands still until the program is loaded (see docs/rooms/net.md). Throws:
// std::system_error naming the step: "exec of 'nosuch'" (ENOENT), "chdir to '/x'", "pipe2" (EMFILE), "clone"
// (EAGAIN, ENOMEM); std::invalid_argument for an empty command, a zero byte, or STDOUT where it makes no
// sense; RuntimeError outside a running loop. Then no child and no fd is left. asyncio: the same; there it
// waits.
[[nodiscard]] Process create_subprocess_exec(const std::vector<std::string>& command,
                                             SubprocessOptions options = {});
// Starts /bin/sh -c `command`. Never put text of others into it.
[[nodiscard]] Process create_subprocess_shell(const std::string& command, SubprocessOptions options = {});

}  // namespace fibrio
