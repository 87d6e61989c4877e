// Calls that a kernel does not know or a container's filter refuses, with EPERM, ENOSYS and EINVAL: the library does
// without, or says clearly what is refused. It neither leaks nor hangs nor aborts.
#include <fcntl.h>
#include <sys/syscall.h>

#include <atomic>

#include <fibrio/fibrio.hpp>
#include <fibrio/subprocess.hpp>

#include "support/catch.hpp"
#include "support/scoped_syscalls.hpp"
#include "support/seccomp.hpp"

using namespace fibrio;
using namespace fibrio::test;
using namespace std::chrono_literals;

namespace {

constexpr int kErrors[] = {EPERM, ENOSYS, EINVAL};
constexpr int kLeak = 50;    // open in the parent, without close-on-exec
constexpr int kPassed = 60;  // in pass_fds
constexpr int kSystemError = 3;
constexpr int kWrong = 4;

Config workers(std::size_t count) {
  Config config;
  config.workers = count;
  return config;
}

// The shell itself looks, since it lists no folder.
constexpr const char* kShowFds =
    "for fd in 3 4 5 6 7 8 9 50 51 60 61 700; do [ -e /proc/self/fd/$fd ] && echo -n $fd,; done; true";

std::string fds_of_child() {
  return run(
      [] {
        SubprocessOptions options;
        options.stdout = PIPE;
        options.pass_fds = {kPassed};
        return create_subprocess_shell(kShowFds, options).communicate().first;
      },
      workers(1));
}

void open_fds_to_leak() {
  for (const int fd : {kLeak, kLeak + 1, kPassed, kPassed + 1, 700}) ::dup2(STDERR_FILENO, fd);
}

int show_fds_of_child() {
  open_fds_to_leak();
  const std::string fds = fds_of_child();
  if (fds == "60,") return 0;
  static_cast<void>(!::write(STDERR_FILENO, fds.data(), fds.size()));
  return kWrong;
}

void check_result(const ChildResult& result) {
  if (result.exit_code == kNoSeccomp) skip("no seccomp here");
  INFO(result.errors);
  CHECK(result.signal == 0);
  CHECK(result.exit_code == 0);
}

// A bit of everything. 0, or what a refused call is answered with.
int use_everything() {
  try {
    return run(
        [] {
          TcpListener listener = TcpListener::bind(Address::parse("127.0.0.1", 0));
          const std::uint16_t port = listener.local_address().port();
          auto client = create_task([port] {
            TcpStream stream = TcpStream::connect("127.0.0.1", port);
            stream.write_all("hello");
            stream.shutdown_write();
          });
          TcpStream peer = timeout(5s, [&] { return listener.accept(); });
          std::string theirs;
          std::byte byte{};
          while (peer.read_some({&byte, 1}) > 0) theirs += static_cast<char>(byte);
          await(client);
          sleep(3ms);
          if (to_thread([] { return 7; }) != 7 || theirs != "hello") return kWrong;
          SubprocessOptions options;
          options.stdin = PIPE;
          Process child = create_subprocess_exec({"cat"}, options);
          child.kill();
          return child.wait() == -SIGKILL ? 0 : kWrong;
        },
        workers(2));
  } catch (const std::system_error& error) {
    const std::string text = error.what();
    static_cast<void>(!::write(STDERR_FILENO, text.data(), text.size()));
    return kSystemError;
  }
}

}  // namespace

TEST_CASE("Children get no other fds where close_range is refused", "[fault]") {
  for (const int error : kErrors) {
    INFO("errno " << error);
    check_result(run_refused({SYS_close_range}, error, show_fds_of_child));
  }
}

TEST_CASE("Children get no other fds where /proc/self/fd cannot be read either", "[fault]") {
  for (const int error : kErrors) {
    INFO("errno " << error);
    check_result(run_refused({SYS_close_range, SYS_getdents64}, error, show_fds_of_child));
  }
}

TEST_CASE("A child whose other fds cannot be closed is not started, and the error says why", "[fault]") {
  const ChildResult result = run_refused({SYS_close_range, SYS_getdents64}, EPERM, [] {
    open_fds_to_leak();
    sys::syscalls.getrlimit = [](int, rlimit*) { return -EPERM; };  // as a limit of a thousand million
    try {
      fds_of_child();
    } catch (const std::system_error& error) {
      const std::string text = error.what();
      if (error.code().value() == EPERM && text.find("close_range") != std::string::npos) return 0;
    }
    return kWrong;
  });
  check_result(result);
}

TEST_CASE("Process::kill works where pidfd_send_signal is refused", "[fault]") {
  for (const int error : {EPERM, ENOSYS}) {
    check_result(run_refused({SYS_pidfd_send_signal}, error, [] {
      return run(
          [] {
            { const Process dropped = create_subprocess_exec({"sleep", "1000"}); }
            Process child = create_subprocess_exec({"sleep", "1000"});
            child.kill();
            if (child.wait() != -SIGKILL) return kWrong;
            try {
              child.kill();
            } catch (const std::system_error& gone) {
              return gone.code().value() == ESRCH ? 0 : kWrong;
            }
            return kWrong;
          },
          workers(2));
    }));
  }
}

TEST_CASE("A refused call that has a substitute is not missed", "[fault]") {
  constexpr long kCalls[] = {
      SYS_pidfd_open,        SYS_pidfd_send_signal, SYS_close_range,      SYS_epoll_pwait2, SYS_membarrier,
      SYS_accept4,           SYS_memfd_create,      SYS_getrandom,        SYS_openat2,      SYS_statx,
      SYS_sched_setaffinity, SYS_sendfile,          SYS_sched_getaffinity};
  for (const long call : kCalls) {
    for (const int error : kErrors) {
      if (call == SYS_sigaltstack && kAnySanitizer) continue;          // they insist on it
      if (call == SYS_accept4 && error == EINVAL) continue;            // says that it does not listen
      if (call == SYS_pidfd_send_signal && error == EINVAL) continue;  // a signal that there is not
      INFO("call " << call << ", errno " << error);
      check_result(run_refused({call}, error, use_everything));
    }
  }
}

TEST_CASE("A refused call that has no substitute is an error that ends nothing else", "[fault]") {
  constexpr long kCalls[] = {SYS_eventfd2, SYS_timerfd_create, SYS_timerfd_settime, SYS_epoll_create1,
                             SYS_pipe2,    SYS_clone,          SYS_waitid,          SYS_socket};
  for (const long call : kCalls) {
    for (const int error : kErrors) {
      INFO("call " << call << ", errno " << error);
      const ChildResult result = run_refused({call}, error, use_everything);
      if (result.exit_code == kNoSeccomp) skip("no seccomp here");
      INFO(result.errors);
      CHECK(result.signal == 0);
      CHECK((result.exit_code == 0 || result.exit_code == kSystemError ||
             (call == SYS_waitid && result.exit_code == kWrong)));
    }
  }
}

TEST_CASE("A status is taken by pid where waitid knows no pidfds", "[fault]") {
  const ScopedSyscalls table;
  sys::syscalls.waitid = [](idtype_t type, id_t id, siginfo_t* info, int options) {
    return type == P_PIDFD ? -EINVAL : sys::real_syscalls.waitid(type, id, info, options);
  };
  CHECK(run([] { return create_subprocess_shell("exit 7").wait(); }, workers(2)) == 7);
}

TEST_CASE("A child that may not be killed is not waited for when its Process goes", "[fault]") {
  const ScopedSyscalls table;
  sys::syscalls.pidfd_send_signal = [](int, int, siginfo_t*, unsigned) { return -EPERM; };
  sys::syscalls.kill = [](pid_t, int) { return -EPERM; };
  int pid = 0;
  run(
      [&] {
        const Process dropped = create_subprocess_exec({"sleep", "1000"});
        pid = dropped.pid();
      },
      workers(1));
  CHECK(::kill(pid, SIGKILL) == 0);            // it lives
  while (::kill(pid, 0) == 0) ::usleep(1000);  // and is taken away in the background
}

TEST_CASE("An accept that is refused is reported once and does not spin", "[fault]") {
  const ScopedSyscalls table;
  static std::atomic<int> calls;
  calls = 0;
  sys::syscalls.accept4 = [](int, sockaddr*, socklen_t*, int) {
    ++calls;
    return -EPERM;
  };
  sys::syscalls.accept = [](int, sockaddr*, socklen_t*) { return -EPERM; };
  int reports = 0;
  EventLoop loop(workers(1));
  loop.set_exception_handler([&](EventLoop&, const ExceptionContext&) { ++reports; });
  loop.run_until_complete([] {
    TcpListener listener = TcpListener::bind(Address::parse("127.0.0.1", 0));
    TcpStream stream = TcpStream::connect("127.0.0.1", listener.local_address().port());
    try {
      timeout(350ms, [&] { static_cast<void>(listener.accept()); });
    } catch (const TimeoutError&) {
    }
  });
  CHECK(reports == 1);
  CHECK(calls >= 1);
  CHECK(calls < 20);
}
