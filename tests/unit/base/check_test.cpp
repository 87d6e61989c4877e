#include "base/check.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "support/catch.hpp"

namespace {

struct Ending {
  int signal;
  std::string errors;
};

// Runs `body` in a child process and returns how that ended and what it wrote to stderr.
template <class Body>
Ending run_in_child(Body body) {
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe_ends[1], STDERR_FILENO);
    body();
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  Ending ending{0, {}};
  char buffer[512];
  for (ssize_t n; (n = ::read(pipe_ends[0], buffer, sizeof buffer)) > 0;) {
    ending.errors.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(pipe_ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) ending.signal = WTERMSIG(status);
  return ending;
}

TEST_CASE("FIBRIO_CHECK lets a true condition pass", "[check]") {
  FIBRIO_CHECK(1 + 1 == 2, "arithmetic");
  SUCCEED();
}

TEST_CASE("FIBRIO_CHECK ends the process with file, condition and reason", "[check]") {
  const Ending ending = run_in_child([] { FIBRIO_CHECK(1 + 1 == 3, "arithmetic has changed"); });
  REQUIRE(ending.signal == SIGABRT);
  REQUIRE(ending.errors.find("check_test.cpp:") != std::string::npos);
  REQUIRE(ending.errors.find("1 + 1 == 3") != std::string::npos);
  REQUIRE(ending.errors.find("arithmetic has changed") != std::string::npos);
}

TEST_CASE("FIBRIO_CHECK names what runs when somebody can describe it", "[check]") {
  const Ending ending = run_in_child([] {
    fibrio::detail::set_describe_running([]() noexcept { std::fputs("in task 'tea'\n", stderr); });
    FIBRIO_CHECK(false, "kettle");
  });
  REQUIRE(ending.errors.find("in task 'tea'") != std::string::npos);
}

}  // namespace
