// What a child gets and gives: pipes, redirections, environment, descriptors, signals.
#include <sys/mman.h>
#include <unistd.h>

#include "support/children.hpp"
#include "support/net.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

const SubprocessOptions kPipes{.stdin = PIPE, .stdout = PIPE, .stderr = PIPE};

}  // namespace

// asyncio: test_subprocess SubprocessMixin.test_stdin_stdout
// asyncio: test_events SubprocessTestsMixin.test_subprocess_interactive
TEST_CASE("A child reads what is written to its stdin, and its stdout is read", "[subprocess]") {
  with_children([] {
    Process cat = create_subprocess_exec({"cat"}, {.stdin = PIPE, .stdout = PIPE});
    for (const std::string text : {"Python ", "The Winner"}) {
      write_to(cat, text);
      expect(read_from(cat, text.size()) == text, "the text");
    }
    close_stdin(cat);
    expect(read_from(cat, 10).empty(), "the end");
    expect_equal(cat.wait(), 0, "the status");
  });
}

// asyncio: test_subprocess SubprocessMixin.test_communicate
// asyncio: test_subprocess SubprocessMixin.test_communicate_none_input
// asyncio: test_subprocess SubprocessMixin.test_empty_input
// asyncio: test_events SubprocessTestsMixin.test_subprocess_exec
// asyncio: test_events SubprocessTestsMixin.test_subprocess_stderr
TEST_CASE("communicate feeds stdin, closes it, and reads both outputs to their ends", "[subprocess]") {
  with_children([] {
    Process cat = shell("cat; echo errors >&2", kPipes);
    const auto [out, err] = cat.communicate("some data");
    expect(out == "some data" && err == "errors\n", "both outputs");
    expect_equal(cat.returncode().value_or(-1), 0, "the status, known at once");
    Process none = shell("cat", kPipes);
    expect(none.communicate().first.empty(), "no input");
    Process empty = shell("cat", kPipes);
    expect(empty.communicate("").first.empty(), "an empty input");
    Process plain = shell("true");
    const auto nothing = plain.communicate();
    expect(nothing.first.empty() && nothing.second.empty(), "nothing of what is no pipe");
    Process deaf = shell("true");
    expect_throws<std::invalid_argument>([&] { deaf.communicate("input"); }, "no pipe for an input");
    deaf.wait();
  });
}

TEST_CASE("Bytes of all sizes go through a child's pipes unchanged", "[subprocess]") {
  with_children([] {
    for (const std::size_t size : {1, 8192, 8193, 65536, 65537, 219263, 219264, 1'000'000}) {
      const std::vector<std::byte> data = test_data(size);
      const std::string_view input(reinterpret_cast<const char*>(data.data()), size);
      Process cat = create_subprocess_exec({"cat"}, {.stdin = PIPE, .stdout = PIPE});
      expect(cat.communicate(input).first == input, "what was written, of " + std::to_string(size));
    }
  });
}

// asyncio: test_subprocess SubprocessMixin.test_communicate_ignore_broken_pipe
// asyncio: test_subprocess SubprocessMixin.test_stdin_broken_pipe
TEST_CASE("A child that does not read its input is EPIPE for a write, and nothing for communicate",
          "[subprocess]") {
  with_children([] {
    const std::string large(1'000'000, 'x');
    Process ignorant = shell("exec <&-; echo done; sleep 0", kPipes);
    expect(ignorant.communicate(large).first == "done\n", "the output");
    Process other = shell("exit 3", {.stdin = PIPE});
    other.wait();
    expect_equal(error_of([&] { write_to(other, large); }), EPIPE, "errno");
    expect_equal(other.wait(), 3, "the status");
  });
}

// asyncio: test_subprocess SubprocessMixin.test_pause_reading
// asyncio: test_subprocess SubprocessMixin.test_read_stdout_after_process_exit
TEST_CASE("What a child wrote before its end is read after it", "[subprocess]") {
  with_children([] {
    Process exited = shell("echo left behind", {.stdout = PIPE});
    exited.wait();
    expect(read_from(exited, 100) == "left behind\n", "the output");
    // Far more than the pipe holds: the child waits for us.
    Process large = shell("head -c 500000 /dev/zero", {.stdout = PIPE});
    let_others_wait();
    expect(!large.returncode().has_value(), "it runs");
    expect_equal(large.communicate().first.size(), 500'000, "bytes");
    expect_equal(*large.returncode(), 0, "the status");
  });
}

// asyncio: test_events SubprocessTestsMixin.test_subprocess_close_client_stream
TEST_CASE("Closing our end of a child's stdout breaks its pipe", "[subprocess]") {
  with_children([] {
    Process yes = create_subprocess_exec({"yes"}, {.stdout = PIPE});
    (void)read_from(yes, 2);
    yes.stdout() = StreamReader();
    expect_equal(yes.wait(), -SIGPIPE, "the status");
  });
}

// asyncio: test_subprocess SubprocessMixin.test_stdin_not_inheritable
TEST_CASE("A child sees the end of its stdin though others were started meanwhile", "[subprocess]") {
  with_children([] {
    std::vector<Process> cats;
    for (int i = 0; i < 5; ++i)
      cats.push_back(create_subprocess_exec({"cat"}, {.stdin = PIPE, .stdout = PIPE}));
    for (Process& cat : cats) {
      close_stdin(cat);
      expect(read_from(cat, 1).empty(), "the end");
      expect_equal(cat.wait(), 0, "the status");
    }
  });
}

// asyncio: test_subprocess SubprocessMixin.test_devnull_input
// asyncio: test_subprocess SubprocessMixin.test_devnull_output
// asyncio: test_subprocess SubprocessMixin.test_devnull_error
// asyncio: test_events SubprocessTestsMixin.test_subprocess_close_after_finish
TEST_CASE("DEVNULL is /dev/null, and no pipe", "[subprocess]") {
  with_children([] {
    Process reads = create_subprocess_exec({"cat"}, {.stdin = DEVNULL, .stdout = PIPE});
    expect(reads.communicate().first.empty(), "nothing to read");
    expect_throws<RuntimeError>([&] { (void)reads.stdin(); }, "no pipe");
    Process writes =
        shell("cat; echo out; echo err >&2", {.stdin = PIPE, .stdout = DEVNULL, .stderr = DEVNULL});
    const auto [out, err] = writes.communicate("some data");
    expect(out.empty() && err.empty(), "nothing");
    expect_throws<RuntimeError>([&] { (void)writes.stdout(); }, "no pipe");
    expect_throws<RuntimeError>([&] { (void)writes.stderr(); }, "no pipe");
    expect_equal(*writes.returncode(), 0, "the status");
  });
}

// asyncio: test_subprocess SubprocessMixin.test_devstdin_input
TEST_CASE("/dev/stdin is the pipe in a child", "[subprocess]") {
  with_children([] {
    Process cat = create_subprocess_exec({"cat", "/dev/stdin"}, {.stdin = PIPE, .stdout = PIPE});
    expect(cat.communicate("message").first == "message", "the text");
  });
}

// asyncio: test_events SubprocessTestsMixin.test_subprocess_stderr_redirect_to_stdout
TEST_CASE("STDOUT merges stderr into stdout", "[subprocess]") {
  with_children([] {
    Process both = shell("echo out; echo err >&2; echo out", {.stdout = PIPE, .stderr = STDOUT});
    const auto [out, err] = both.communicate();
    expect(out == "out\nerr\nout\n" && err.empty(), "both in one");
    expect_throws<std::invalid_argument>([] { (void)shell("true", {.stdout = STDOUT}); }, "for stderr only");
  });
}

TEST_CASE("A child's streams can be files and fds of ours, in any arrangement", "[subprocess]") {
  with_children([] {
    const RawPeer in(::memfd_create("in", MFD_CLOEXEC));
    const RawPeer out(::memfd_create("out", MFD_CLOEXEC));
    expect(::write(in.fd(), "from a file", 11) == 11, "a file");
    ::lseek(in.fd(), 0, SEEK_SET);
    Process cat = shell("cat; echo errors >&2", {.stdin = in.fd(), .stdout = out.fd(), .stderr = out.fd()});
    expect_equal(cat.wait(), 0, "the status");
    char text[64] = {};
    expect(::pread(out.fd(), text, sizeof text, 0) == 18, "the file's size");
    expect(std::string(text) == "from a fileerrors\n", "the file");
    expect_equal(error_of([] { (void)shell("true", {.stdin = 999}); }), EBADF, "errno");
    expect_throws<std::invalid_argument>([] { (void)shell("true", {.stdout = -5}); }, "a negative fd");
  });
}

TEST_CASE("Sources of a child's streams may be 0, 1 and 2 themselves, also if those are closed here",
          "[subprocess]") {
  const test::ChildResult result = test::run_in_child([] {
    const int out = ::memfd_create("out", 0);
    run(
        [&] {
          ::dup2(out, STDOUT_FILENO);
          // Crosswise: the child's stdout is our stderr and the other way round.
          Process crossed = shell("echo to-stderr; echo to-stdout >&2", {.stdout = 2, .stderr = 1});
          if (crossed.wait() != 0) ::_exit(2);
          for (const int fd : {0, 1, 2}) ::close(fd);
          Process low = shell("cat; echo err >&2", kPipes);  // its pipes' ends have the numbers 0 to 5
          const auto [text, errors] = low.communicate("low");
          if (text != "low" || errors != "err\n") ::_exit(3);
          Process inherits = shell("true");
          if (inherits.wait() != 0) ::_exit(4);
        },
        Config{.workers = 1});
    char text[32] = {};
    if (::pread(out, text, sizeof text, 0) != 10 || std::string(text) != "to-stdout\n") ::_exit(5);
  });
  CHECK(result.exit_code == 0);
  CHECK(result.errors == "to-stderr\n");
}

TEST_CASE("A child has the standard streams and pass_fds, and no other descriptor", "[subprocess]") {
  with_children([] {
    const RawPeer inheritable(::open("/dev/null", O_RDONLY));  // without close-on-exec
    const RawPeer passed(::dup(inheritable.fd()));
    StreamPair pair = connect_pair();
    const std::string own = "/proc/self/fd";  // ls opens it: the highest number
    const auto fds_of = [&](SubprocessOptions options) {
      options.stdin = DEVNULL;
      options.stdout = PIPE;
      Process ls = create_subprocess_exec({"ls", own}, options);
      return ls.communicate().first;
    };
    expect(fds_of({}) == "0\n1\n2\n3\n", "only the standard streams");
    const std::string number = std::to_string(passed.fd());
    const std::string with_one = fds_of({.pass_fds = {passed.fd(), 1, passed.fd()}});
    const std::string wanted = passed.fd() == 3 ? "0\n1\n2\n3\n4\n" : "0\n1\n2\n3\n" + number + "\n";
    std::vector<int> numbers;
    for (std::size_t at = 0; at < with_one.size(); at = with_one.find('\n', at) + 1) {
      numbers.push_back(std::stoi(with_one.substr(at)));
    }
    std::sort(numbers.begin(), numbers.end());
    std::string sorted;
    for (const int fd : numbers) sorted += std::to_string(fd) + "\n";
    expect(sorted == wanted, "and the one that was passed, not " + sorted);
    std::string text;
    expect_equal(error_of([] { (void)shell("true", {.pass_fds = {998}}); }, &text), EBADF, "errno");
    expect(text.find("998") != std::string::npos, "the fd in: " + text);
  });
}

// asyncio: test_subprocess SubprocessMixin.test_create_subprocess_env_shell
// asyncio: test_subprocess SubprocessMixin.test_create_subprocess_env_exec
TEST_CASE("env replaces a child's environment, and says where the program is looked for", "[subprocess]") {
  with_children([] {
    expect(output_of("echo $FOO $HOME", {.env = {{{"FOO", "bar"}}}}) == "bar\n", "one variable and no other");
    ::setenv("FIBRIO_TEST_VARIABLE", "inherited", 1);
    expect(output_of("echo $FIBRIO_TEST_VARIABLE") == "inherited\n", "ours");
    ::unsetenv("FIBRIO_TEST_VARIABLE");
    expect_equal(error_of([] {
                   (void)create_subprocess_exec({"cat"}, {.env = {{{"PATH", "/nowhere:/dev/null"}}}});
                 }),
                 ENOENT, "errno with another PATH");
    Process found = create_subprocess_exec({"true"}, {.env = {{{"PATH", "/nowhere::/bin:/usr/bin"}}}});
    expect_equal(found.wait(), 0, "the status");
    Process standard = create_subprocess_exec({"true"}, {.env = {{}}});
    expect_equal(standard.wait(), 0, "the status with the standard PATH");
    for (const char* name : {"", "A=B"}) {
      expect_throws<std::invalid_argument>([&] { (void)shell("true", {.env = {{{name, "x"}}}}); }, "no name");
    }
  });
}

// asyncio: test_subprocess SubprocessMixin.test_start_new_session
// asyncio: test_events SubprocessTestsMixin.test_subprocess_wait_no_same_group
TEST_CASE("cwd, a new session and a process group are the child's own", "[subprocess]") {
  with_children([] {
    expect(output_of("pwd", {.cwd = "/"}) == "/\n", "the directory");
    const auto field = [](const SubprocessOptions& options, const char* number) {
      return std::stoi(output_of(std::string("cut -d' ' -f") + number + " /proc/$$/stat", options));
    };
    expect_equal(field({}, "6"), ::getsid(0), "the session");
    expect(field({.start_new_session = true}, "6") != ::getsid(0), "a new session");
    expect_equal(field({}, "5"), ::getpgrp(), "the group");
    Process leader =
        shell("read line; cut -d' ' -f5 /proc/$$/stat", {.stdin = PIPE, .stdout = PIPE, .process_group = 0});
    Process member = shell("cut -d' ' -f5 /proc/$$/stat", {.stdout = PIPE, .process_group = leader.pid()});
    expect_equal(std::stoi(member.communicate().first), leader.pid(), "the group");
    expect_equal(std::stoi(leader.communicate("go\n").first), leader.pid(), "its own group");
    std::string text;
    expect_equal(error_of([] { (void)shell("true", {.process_group = 1}); }, &text), EPERM, "errno");
    expect(text.find("setpgid to 1") == 0, "the call in: " + text);
  });
}

TEST_CASE("A child has no signal blocked, and none of our handlers", "[subprocess]") {
  const auto mine = [](int) {};
  const auto usr2 = ::signal(SIGUSR2, mine);
  const auto hup = ::signal(SIGHUP, SIG_IGN);
  const auto pipe = ::signal(SIGPIPE, SIG_IGN);
  with_children([] {
    const SignalStream signals{SIGUSR1};
    const std::string status = output_of("exec cat /proc/self/status");
    expect(status.find("SigBlk:\t0000000000000000") != std::string::npos, "nothing blocked in " + status);
    expect(status.find("SigIgn:\t0000000000000001") != std::string::npos,
           "SIGHUP still ignored in " + status);
    expect(status.find("SigCgt:\t0000000000000000") != std::string::npos, "no handler in " + status);
    for (const int signal : {SIGUSR1, SIGUSR2, SIGPIPE}) {
      Process dies = shell("kill -" + std::to_string(signal) + " $$");
      expect_equal(dies.wait(), -signal, "the status");
    }
  });
  ::signal(SIGUSR2, usr2);
  ::signal(SIGHUP, hup);
  ::signal(SIGPIPE, pipe);
}

// asyncio: test_subprocess SubprocessMixin.test_popen_error
// asyncio: test_subprocess SubprocessMixin.test_popen_error_with_stdin_pipe
TEST_CASE("A program that cannot be started is named, with the reason, and leaves nothing", "[subprocess]") {
  with_children([] {
    const std::size_t fds = open_fds();
    std::string text;
    const auto error = [&](const std::vector<std::string>& command,
                           const SubprocessOptions& options = kPipes) {
      return error_of([&] { (void)create_subprocess_exec(command, options); }, &text);
    };
    expect_equal(error({"fibrio-no-such-program"}), ENOENT, "errno");
    expect(text.find("exec of 'fibrio-no-such-program'") == 0, "the program in: " + text);
    expect_equal(error({"/nowhere/program"}), ENOENT, "errno");
    expect_equal(error({"/dev/null"}), EACCES, "errno");
    expect_equal(error({"/etc/passwd/x"}), ENOTDIR, "errno");
    expect_equal(error({"true"}, {.cwd = "/nowhere"}), ENOENT, "errno");
    expect(text.find("chdir to '/nowhere'") == 0, "the directory in: " + text);
    expect_equal(error({"cat", std::string(200'000, 'x')}), E2BIG, "errno");
    expect_throws<std::invalid_argument>([&] { error({}); }, "no program");
    expect_throws<std::invalid_argument>([&] { error({""}); }, "no program");
    expect_throws<std::invalid_argument>([&] { error({"cat", std::string("a\0b", 3)}); }, "a zero byte");
    expect_equal(open_fds(), fds, "open fds");
    expect(!has_children(), "no child");
  });
  CHECK_THROWS_AS(create_subprocess_exec({"true"}), RuntimeError);
}
