// What: another program, with its output on a pipe; killed at the end, with those that it started, if it still
// runs.
// Threads: one at a time. Every wait blocks, for 30 seconds at most: in tasks call by to_thread.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "support/net_loops.hpp"

namespace fibrio::net_test {

class Program {
 public:
  // `input`: the file that it reads as its standard input.
  explicit Program(std::vector<std::string> arguments, const std::string& input = "/dev/null") {
    int ends[2];
    expect(::pipe2(ends, O_CLOEXEC) == 0, "a pipe");
    output_ = ends[0];
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, input.c_str(), O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    posix_spawnattr_t attributes;  // a process group of its own
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int error = ::posix_spawnp(&pid_, pointers[0], &actions, &attributes, pointers.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (error != 0) pid_ = -1;
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (pid_ > 0) {
      ::kill(-pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(output_);
  }

  [[nodiscard]] bool is_started() const { return pid_ > 0; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  // All of its output up to the end of the first line that has `part`; all there was if there is none.
  std::string read_to(const std::string& part) {
    for (;;) {
      const std::size_t at = text_.find(part);
      const std::size_t end = at == std::string::npos ? at : text_.find('\n', at);
      if (end != std::string::npos) {
        std::string found = text_.substr(0, end);
        text_.erase(0, end + 1);
        return found;
      }
      if (!read_more()) return std::exchange(text_, {});
    }
  }
  // What is left of its output, and its exit code; -1 if it does not end, or was killed.
  std::pair<std::string, int> finish() {
    while (read_more()) {
    }
    int status = 0;
    if (!is_ended_ || pid_ <= 0) return {text_, -1};
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return {text_, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
  }

 private:
  bool read_more() {
    pollfd entry{output_, POLLIN, 0};
    if (::poll(&entry, 1, 30'000) <= 0) return false;
    char buffer[4096];
    const ssize_t count = ::read(output_, buffer, sizeof buffer);
    if (count <= 0) {
      is_ended_ = true;
      return false;
    }
    text_.append(buffer, static_cast<std::size_t>(count));
    return true;
  }

  pid_t pid_ = -1;
  int output_ = -1;
  bool is_ended_ = false;
  std::string text_;
};

}  // namespace fibrio::net_test
