// How a child ends: statuses, signals, cancelled waits, dropped handles, closed loops. None stays as a
// zombie.
#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <thread>

#include <fibrio/pipes.hpp>

#include "support/children.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

// The state letter of a process, 'Z' for a zombie; 0 if there is none.
char state_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return 0;
  return line[line.rfind(')') + 2];
}
bool is_gone(pid_t pid) { return state_of(pid) == 0; }

Process sleeper(SubprocessOptions options = {}) {
  return create_subprocess_exec({"sleep", "1000"}, std::move(options));
}

}  // namespace

// asyncio: test_subprocess SubprocessMixin.test_shell
// asyncio: test_events SubprocessTestsMixin.test_subprocess_shell
// asyncio: test_events SubprocessTestsMixin.test_subprocess_exitcode
TEST_CASE("wait returns the exit status, at once if it is known", "[subprocess]") {
  with_children([] {
    for (const int status : {0, 1, 7, 255}) {
      Process process = shell("exit " + std::to_string(status));
      expect(process.pid() > 0, "a pid");
      expect_equal(process.wait(), status, "the status");
      expect_equal(*process.returncode(), status, "the status");
      expect_equal(process.wait(), status, "the status once more");
    }
    Process unattended = shell("exit 9");
    wait_until([&] { return unattended.returncode() == 9; }, "the status without a wait");
  });
}

// asyncio: test_subprocess SubprocessMixin.test_kill
// asyncio: test_subprocess SubprocessMixin.test_terminate
// asyncio: test_subprocess SubprocessMixin.test_send_signal
// asyncio: test_events SubprocessTestsMixin.test_subprocess_kill
// asyncio: test_events SubprocessTestsMixin.test_subprocess_terminate
// asyncio: test_events SubprocessTestsMixin.test_subprocess_send_signal
TEST_CASE("kill, terminate and send_signal end a child with minus the signal's number", "[subprocess]") {
  with_children([] {
    Process killed = sleeper();
    killed.kill();
    expect_equal(killed.wait(), -SIGKILL, "the status");
    Process terminated = sleeper();
    terminated.terminate();
    expect_equal(terminated.wait(), -SIGTERM, "the status");
    Process handles =
        shell("trap 'echo got it; exit 5' HUP; echo ready; while :; do sleep 0.01; done", {.stdout = PIPE});
    expect(read_from(handles, 6) == "ready\n", "it is ready");
    handles.send_signal(SIGHUP);
    expect(read_from(handles, 100) == "got it\n", "what its handler says");
    expect_equal(handles.wait(), 5, "the status");
    expect_equal(error_of([&] {
                   Process live = sleeper();
                   live.send_signal(1000);
                 }),
                 EINVAL, "errno");
  });
}

// asyncio: test_subprocess SubprocessTransportTests.test_proc_exited
TEST_CASE("A signal to a child that has ended is ESRCH", "[subprocess]") {
  with_children([] {
    Process process = shell("exit 4");
    process.wait();
    for (const auto& call :
         {+[](Process& ended) { ended.kill(); }, +[](Process& ended) { ended.terminate(); },
          +[](Process& ended) { ended.send_signal(SIGHUP); }}) {
      expect_equal(error_of([&] { call(process); }), ESRCH, "errno");
    }
    expect_equal(*process.returncode(), 4, "the status");
  });
}

// asyncio: test_subprocess SubprocessMixin.test_subprocess_send_signal_race
TEST_CASE("A signal to a child that is just ending corrupts no status", "[subprocess]") {
  with_children([] {
    for (int i = 0; i < 30; ++i) {
      Process process = shell("exit 3");
      if (i % 2 == 0) {  // it has ended, and the loop may not know
        siginfo_t info{};
        ::waitid(P_PID, static_cast<id_t>(process.pid()), &info, WEXITED | WNOWAIT);
      }
      const int error = error_of([&] { process.terminate(); });
      expect(error == 0 || error == ESRCH, "no other error");
      const int status = process.wait();
      expect(status == 3 || (i % 2 == 1 && status == -SIGTERM), "the status, not " + std::to_string(status));
    }
  });
}

// asyncio: test_subprocess SubprocessMixin.test_kill_issue43884
TEST_CASE("wait ends with the child, though its own children have its pipes", "[subprocess]") {
  with_children([] {
    Process parent = shell("sleep 1000 & echo $!; wait", {.stdout = PIPE});
    std::string line;
    while (!line.ends_with('\n')) line += read_from(parent, 1);
    parent.kill();
    expect_equal(parent.wait(), -SIGKILL, "the status");
    const pid_t grandchild = std::stoi(line);  // not ours: init takes it
    expect(!is_gone(grandchild), "it lives");
    ::kill(grandchild, SIGKILL);
  });
}

// asyncio: test_subprocess SubprocessMixin.test_subprocess_concurrent_wait
TEST_CASE("Many tasks and threads wait for one child", "[subprocess]") {
  with_children([] {
    Process process = create_subprocess_exec({"cat"}, {.stdin = PIPE});
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 20; ++i) tasks.push_back(create_task([&] { return process.wait(); }));
    auto thread = create_task([&] { return to_thread([&] { return process.wait(); }); });
    wait_until_all_wait(tasks);
    wait_until_waits(thread, WaitReason::kThread);
    tasks[7].cancel();
    tasks[7].wait();
    close_stdin(process);
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (i != 7) expect_equal(await(tasks[i]), 0, "the status");
    }
    expect(tasks[7].cancelled(), "one was cancelled");
    expect_equal(await(thread), 0, "the status");
  });
}

// asyncio: test_subprocess SubprocessMixin.test_subprocess_communicate_stdout
TEST_CASE("Ten children at once each give their own output", "[subprocess]") {
  with_children([] {
    std::vector<Task<std::string>> tasks;
    for (int i = 0; i < 10; ++i) {
      tasks.push_back(create_task([i] { return output_of("echo child " + std::to_string(i)); }));
    }
    for (int i = 0; i < 10; ++i) {
      expect(await(tasks[static_cast<std::size_t>(i)]) == "child " + std::to_string(i) + "\n", "the output");
    }
  });
}

// asyncio: test_subprocess SubprocessMixin.test_cancel_process_wait
// asyncio: test_subprocess SubprocessMixin.test_subprocess_read_pipe_cancelled
// asyncio: test_subprocess SubprocessMixin.test_subprocess_write_pipe_cancelled
// asyncio: test_subprocess SubprocessMixin.test_subprocess_read_write_pipe_cancelled
TEST_CASE("A cancelled wait, read, write or communicate leaves the child as it was", "[subprocess]") {
  with_children([] {
    Process process = create_subprocess_exec({"cat"}, {.stdin = PIPE, .stdout = PIPE});
    const auto cancel = [](auto&& body) {
      auto task = create_task(body);
      wait_until_waits(task);
      task.cancel();
      task.wait();
      expect(task.cancelled(), "cancelled");
    };
    cancel([&] { process.wait(); });
    cancel([&] { (void)read_from(process, 1); });
    write_to(process, "still there");
    expect(read_from(process, 11) == "still there", "the text");
    process.send_signal(SIGSTOP);
    cancel([&] {
      for (;;) write_to(process, std::string(100'000, 'x'));
    });
    process.send_signal(SIGCONT);
    Process other = sleeper({.stdin = PIPE, .stdout = PIPE});
    cancel([&] { other.communicate(std::string(1'000'000, 'x')); });
    for (Process* left : {&process, &other}) {
      expect(!left->returncode().has_value(), "it runs");
      left->kill();
      expect_equal(left->wait(), -SIGKILL, "the status");
    }
  });
}

// asyncio: test_subprocess SubprocessMixin.test_close_kill_running
// asyncio: test_subprocess SubprocessMixin.test_cancel_make_subprocess_transport_exec
// asyncio: test_subprocess SubprocessMixin.test_cancel_post_init
TEST_CASE("Dropping a Process kills the child, and the loop takes it away", "[subprocess]") {
  with_children([] {
    std::atomic<pid_t> pid = 0;
    pid = sleeper({.stdin = PIPE, .stdout = PIPE}).pid();
    wait_until([&] { return is_gone(pid); }, "the end of the dropped one");
    auto cancelled = create_task([&] {
      current_task().cancel();  // comes to it in the wait
      Process process = sleeper();
      pid = process.pid();
      process.wait();
    });
    cancelled.wait();
    expect(cancelled.cancelled(), "cancelled");
    wait_until([&] { return is_gone(pid); }, "the end of the child of a cancelled task");
    Process first = sleeper();
    pid = first.pid();
    first = shell("exit 2");
    wait_until([&] { return is_gone(pid); }, "the end of the replaced one");
    expect_equal(first.wait(), 2, "the status");
  });
}

// asyncio: test_subprocess SubprocessMixin.test_close_dont_kill_finished
TEST_CASE("Dropping a Process whose child has ended signals nobody", "[subprocess]") {
  with_children([] {
    for (int i = 0; i < 50; ++i) {
      Process process = shell("exit 0");
      if (i % 2 == 0) process.wait();
    }
  });
}

TEST_CASE("A detached child goes on, and is taken away when it ends", "[subprocess]") {
  with_children([] {
    pid_t pid = 0;
    int fds[2];
    expect(::pipe2(fds, O_CLOEXEC) == 0, "a pipe");
    const std::unique_ptr<ByteStream> input = connect_write_pipe(fds[1]);
    {
      Process detached = create_subprocess_exec({"cat"}, {.stdin = fds[0], .on_drop = OnDrop::kDetach});
      pid = detached.pid();
      ::close(fds[0]);
    }
    let_others_wait();
    expect(!is_gone(pid) && state_of(pid) != 'Z', "it runs");
    input->close();
    wait_until([&] { return is_gone(pid); }, "its end");
  });
}

TEST_CASE("Closing the loop kills the children that are left, but for detached ones", "[subprocess]") {
  for (const std::size_t workers : {1, 2, 4}) {
    std::optional<Process> outlives;
    pid_t detached = 0;
    {
      EventLoop loop(Config{.workers = workers});
      loop.run_until_complete([&] {
        outlives.emplace(sleeper({.stdout = PIPE}));
        detached = sleeper({.on_drop = OnDrop::kDetach}).pid();
        (void)sleeper();
        Process exits = shell("exit 0");
        siginfo_t info{};
        ::waitid(P_PID, static_cast<id_t>(exits.pid()), &info, WEXITED | WNOWAIT);
      });
    }
    CHECK(state_of(detached) != 0);
    CHECK(state_of(detached) != 'Z');
    CHECK(::kill(detached, SIGKILL) == 0);
    CHECK(state_of(outlives->pid()) != 'Z');
    outlives->kill();
    CHECK(outlives->wait() == -SIGKILL);
    outlives.reset();
    for (int i = 0; i < 5000 && has_children(); ++i) std::this_thread::sleep_for(1ms);
    CHECK_FALSE(has_children());
    CHECK(is_gone(detached));
  }
}

TEST_CASE("A status that somebody else took is 255, and reported", "[subprocess]") {
  with_children(
      [] {
        ReportsHere reports;
        Process process = create_subprocess_exec({"cat"}, {.stdin = PIPE});
        auto thief = create_task([&] {
          return to_thread([pid = process.pid()] {
            int status = 0;
            return ::waitpid(pid, &status, 0);
          });
        });
        sleep(20ms);  // the thread waits in the kernel before the child ends; else it may lose the race
        close_stdin(process);
        const bool was_taken = await(thief) == process.pid();
        expect_equal(process.wait(), was_taken ? 255 : 0, "the status");
        wait_until([&] { return !was_taken || reports.take().size() == 1; }, "one report");
        const auto before = ::signal(SIGCHLD, SIG_IGN);  // the kernel takes it
        Process ignored = shell("exit 3");
        expect_equal(ignored.wait(), 255, "the status");
        ::signal(SIGCHLD, before);
        std::vector<std::string> texts;
        wait_until([&] { return !(texts = reports.take()).empty(); }, "a report");
        expect(texts.front().find(std::to_string(ignored.pid())) != std::string::npos, "the pid in it");
      },
      true);
}

TEST_CASE("Hundreds of children come and go while the loop does other things", "[subprocess]") {
  with_children([] {
    std::atomic<bool> stops = false;
    auto other = create_task([&] {
      while (!stops) yield();
    });
    std::vector<Task<>> tasks;
    for (int i = 0; i < 8; ++i) {
      tasks.push_back(create_task([i] {
        for (int round = 0; round < 10 / test::kSlowdown + 1; ++round) {
          Process process = create_subprocess_exec({"cat"}, {.stdin = PIPE, .stdout = PIPE});
          const std::string text = std::to_string(i * 1000 + round);
          expect(process.communicate(text).first == text, "its own text");
          expect_equal(process.wait(), 0, "the status");
        }
      }));
    }
    for (auto& task : tasks) await(task);
    stops = true;
    await(other);
  });
}

// asyncio: test_unix_events TestFork.test_fork_asyncio_subprocess
// asyncio: test_unix_events TestFork.test_fork_not_share_current_task
TEST_CASE("A forked child of a loop may have a loop and children of its own", "[subprocess]") {
  with_children([] {
    Process process = sleeper();
    const test::ChildResult result = test::run_in_child([] {
      EventLoop loop(Config{.workers = 1});
      loop.run_until_complete([] {
        if (shell("exit 3").wait() != 3) ::_exit(1);
      });
    });
    expect(result.exit_code == 0 && result.errors.empty(), "the forked one's own child");
    const test::ChildResult copy = test::run_in_child([&] { const Process dropped = std::move(process); });
    expect(copy.exit_code == 0, "a forked copy of the handle that is dropped");
    let_others_wait();
    expect(!process.returncode().has_value(), "the parent's child runs");
  });
}

TEST_CASE("On a strand and with virtual time the end of a child is seen all the same", "[subprocess]") {
  Config config;
  config.workers = 2;
  config.virtual_time = true;
  EventLoop loop(config);
  loop.run_until_complete([] {
    Strand strand;
    strand.run([] {
      Process process = shell("sleep 0.05; exit 6");
      expect_equal(process.wait(), 6, "the status: time did not jump to a deadlock");
    });
  });
}
