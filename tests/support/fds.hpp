// What: how many fds the process has.
// Threads: any. Without the pipes in a build with UBSan, which makes one for a moment, on whatever thread, when it
// looks at an object of a type that is new to it: a pool's thread may do so while the next test begins.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <string_view>

#include "fibrio/detail/build.hpp"

namespace fibrio::test {

inline bool is_pipe_of_a_sanitizer([[maybe_unused]] int folder, [[maybe_unused]] const char* name) {
#ifdef FIBRIO_ASAN
  char target[8] = {};
  const ssize_t size = ::readlinkat(folder, name, target, sizeof target);
  return size > 0 && std::string_view(target, static_cast<std::size_t>(size)).starts_with("pipe:");
#else
  return false;
#endif
}

inline std::size_t open_fds() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) std::abort();
  std::size_t count = 0;
  while (const dirent* entry = ::readdir(folder)) {
    if (!is_pipe_of_a_sanitizer(::dirfd(folder), entry->d_name)) ++count;
  }
  ::closedir(folder);
  return count - 3;  // ".", "..", the folder itself
}

}  // namespace fibrio::test
