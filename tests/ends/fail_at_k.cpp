#include "ends/fail_at_k.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "fibrio/errors.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

namespace fibrio::test {

namespace {

enum Exit : int { kNotReached = 10, kSurvived, kWrongData, kNoSecondTime, kFdsLeft };

std::string describe(int status) {
  if (WIFSIGNALED(status)) {
    return WTERMSIG(status) == SIGALRM ? "hangs" : "dies by signal " + std::to_string(WTERMSIG(status));
  }
  switch (WEXITSTATUS(status)) {
    case kWrongData:
      return "goes on with wrong data";
    case kNoSecondTime:
      return "cannot do the same without the fault afterwards";
    case kFdsLeft:
      return "leaves fds behind";
    default:
      return "exits";
  }
}

// False: wrong data. Errors are what a fault may lead to.
bool run_with_fault(const FailScript& script, std::size_t workers) {
  try {
    script.run(workers);
  } catch (const Wrong& wrong) {
    std::fprintf(stderr, "ends: %s: %s\n", script.name, wrong.what());
    return false;
  } catch (...) {
  }
  return true;
}

bool run_without(const FailScript& script, std::size_t workers) {
  try {
    script.run(workers);
    return true;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ends: %s: without the fault: %s\n", script.name, error.what());
  } catch (...) {
    std::fprintf(stderr, "ends: %s: without the fault: something is thrown\n", script.name);
  }
  return false;
}

}  // namespace

Survival survive(const FailScript& script, std::size_t workers, const std::string& what,
                 const std::function<void()>& arm, const std::function<void()>& disarm,
                 const std::function<bool()>& came) {
  // Once in the parent: what a process opens at the first use and keeps is no leak.
  static const bool is_warm = [] {
    for (const FailScript& each : fail_scripts()) CHECK(run_without(each, 2));
    return true;
  }();
  static_cast<void>(is_warm);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(static_cast<unsigned>(20 * kSlowdown));
    const std::size_t fds = open_fds();
    arm();
    const bool is_right = run_with_fault(script, workers);
    const bool has_come = came();
    disarm();
    if (!is_right) ::_exit(kWrongData);
    if (!has_come) ::_exit(kNotReached);
    if (!run_without(script, workers)) ::_exit(kNoSecondTime);
    if (open_fds() != fds) ::_exit(kFdsLeft);
    ::_exit(kSurvived);
  }
  if (child < 0) {
    FAIL_CHECK("fork fails");
    return Survival::kFailed;
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotReached) return Survival::kNotReached;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kSurvived) return Survival::kSurvived;
  FAIL_CHECK(script.name << " with " << workers << " workers, " << what << ": the process "
                         << describe(status));
  return Survival::kFailed;
}

}  // namespace fibrio::test
