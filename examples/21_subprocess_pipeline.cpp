// Teaches: child processes joined by pipes of the system's, as a shell's "sort | uniq -c": data flows between
// them without passing through here. The ends are fds, given with Redirect; PIPE is an end that we keep.
// asyncio: create_subprocess_exec with os.pipe().
#include <fcntl.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fibrio/fibrio.hpp>

// Starts all of the commands, each reading what the one before it writes; the first reads what we write, the
// last one's output is ours.
std::vector<fibrio::Process> start_pipeline(const std::vector<std::vector<std::string>>& commands) {
  std::vector<fibrio::Process> processes;
  fibrio::Redirect input = fibrio::PIPE;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    const bool is_last = i + 1 == commands.size();
    int ends[2] = {-1, -1};
    if (!is_last && ::pipe2(ends, O_CLOEXEC) != 0)
      throw std::system_error(errno, std::system_category(), "pipe2");
    const fibrio::Redirect output = is_last ? fibrio::PIPE : fibrio::Redirect(ends[1]);
    processes.push_back(fibrio::create_subprocess_exec(commands[i], {.stdin = input, .stdout = output}));
    if (i > 0) ::close(input.fd());
    if (!is_last) ::close(ends[1]);
    input = ends[0];
  }
  return processes;
}

int main() {
  fibrio::run([] {
    auto pipeline = start_pipeline({{"sort"}, {"uniq", "-c"}, {"sort", "-rn"}});
    // The first one's stdin and the last one's stdout are ours: fed and read at the same time.
    auto counts = fibrio::create_task([&] { return pipeline.back().communicate().first; });
    pipeline.front().communicate("pear\nplum\npear\nfig\nplum\npear\n");
    std::cout << fibrio::await(counts);
    for (fibrio::Process& process : pipeline) std::cout << "status " << process.wait() << '\n';

    try {
      auto missing = fibrio::create_subprocess_exec({"no-such-program"});
    } catch (const std::system_error& error) {
      std::cout << error.what() << '\n';
    }

    auto patient = fibrio::create_subprocess_shell("echo waiting; exec sleep 1000", {.stdout = fibrio::PIPE});
    try {
      fibrio::wait_for([&] { patient.wait(); }, std::chrono::milliseconds(50));
    } catch (const fibrio::TimeoutError&) {
      patient.terminate();  // the wait timed out, the child still runs
    }
    std::cout << "ended by signal " << -patient.wait() << '\n';
  });
}
