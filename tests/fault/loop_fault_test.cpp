// Faults of what a loop needs to live: epoll, eventfd, timerfd, its sleep, and the stacks of its tasks.
#include <sys/mman.h>

#include "fiber/stack.hpp"
#include "support/faults.hpp"
#include "support/net.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

// The text with which the construction of a loop fails, or nothing.
std::string construct(std::size_t workers) {
  try {
    const EventLoop loop(Config{.workers = workers});
  } catch (const std::system_error& error) {
    return error.what();
  }
  return {};
}

bool begins_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

}  // namespace

TEST_CASE("EventLoop that cannot be made names the call and leaks nothing", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::epoll_create1> epoll_create1;
  Fault<&sys::Syscalls::eventfd> eventfd;
  Fault<&sys::Syscalls::timerfd_create> timerfd_create;
  Fault<&sys::Syscalls::epoll_ctl> epoll_ctl;
  Fault<&sys::Syscalls::mmap> mmap(
      [](void*, std::size_t bytes, int, int, int, off_t) { return bytes >= 32U << 10; });
  const std::size_t fds = open_fds();
  for (const std::size_t workers : {1, 2, 4}) {
    for (int k = 1; k <= static_cast<int>(workers); ++k) {
      INFO("workers " << workers << ", call " << k);
      for (const int error : {EMFILE, ENFILE, ENOMEM}) {
        epoll_create1.arm(-error, {.first = k});
        CHECK(begins_with(construct(workers), "epoll_create1"));
        eventfd.arm(-error, {.first = k});
        CHECK(begins_with(construct(workers), "eventfd"));
        epoll_create1.disarm();
        eventfd.disarm();
        epoll_ctl.arm(-error, {.first = k});
        CHECK(begins_with(construct(workers), "epoll_ctl"));
        epoll_ctl.disarm();
      }
      if (!kAddressSanitizer) {  // which has stacks for signal handlers of its own
        mmap.arm({nullptr, -ENOMEM}, {.first = k});
        CHECK(begins_with(construct(workers), "mmap(sigaltstack)"));
        mmap.disarm();
      }
      CHECK(open_fds() == fds);
    }
    timerfd_create.arm(-EMFILE);
    CHECK(begins_with(construct(workers), workers == 1 ? "" : "timerfd_create"));
    timerfd_create.disarm();
    CHECK(open_fds() == fds);
    CHECK(construct(workers) == "");  // the next one is made
  }
}

TEST_CASE("EventLoop works without epoll_pwait2 and is never early", "[fault]") {
  for (const int error : {ENOSYS, EPERM}) {
    const ScopedSyscalls table;
    Fault<&sys::Syscalls::epoll_pwait2> epoll_pwait2;
    epoll_pwait2.arm(-error, {.first = 1, .times = kAlways});
    on_loops([] {
      EventLoop& loop = get_running_loop();
      for (int i = 0; i < 20; ++i) {
        const Duration time = std::chrono::microseconds(100 * i);
        const TimePoint before = loop.time();
        sleep(time);
        expect(loop.time() - before >= time, "not early");
      }
      StreamPair pair = connect_pair();
      auto reader = create_task([&] { return read_once(pair.server); });
      wait_until_waits(reader, WaitReason::kReadable);
      pair.client.write_all("x");
      expect(await(reader) == "x", "the text");
    });
    CHECK(epoll_pwait2.hits() >= 1);
  }
}

TEST_CASE("EventLoop goes on when its sleep is interrupted by signals", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::epoll_pwait2> epoll_pwait2;
  Fault<&sys::Syscalls::epoll_pwait> epoll_pwait;
  on_loops([&] {
    EventLoop& loop = get_running_loop();
    StreamPair pair = connect_pair();
    auto server = create_task([&] { echo(pair.server); });
    for (int i = 0; i < 50; ++i) {
      epoll_pwait2.arm(-EINTR, {.first = 1 + i % 3, .times = 1 + i % 5});
      epoll_pwait.arm(-EINTR, {.first = 1 + i % 2, .times = 1 + i % 3});
      const TimePoint before = loop.time();
      sleep(1ms);
      expect(loop.time() - before >= 1ms, "not early");
      pair.client.write_all("ping");
      expect(read_text(pair.client, 4) == "ping", "the echo");
    }
    epoll_pwait2.disarm();
    epoll_pwait.disarm();
    pair.client.close();
    await(server);
  });
}

TEST_CASE("A task that gets no stack ends with an error that names the call, and the others go on",
          "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::mmap> mmap;
  Fault<&sys::Syscalls::madvise> madvise([](void*, std::size_t, int advice) {
    constexpr int kGuardInstall = 102;
    return advice == kGuardInstall;
  });
  on_loops([&] {
    const auto rounds = std::make_shared<std::atomic<int>>(0);
    auto other = create_task([rounds] {
      for (;;) {
        ++*rounds;
        sleep(1ms);
      }
    });
    // A class of stacks that nobody has used: the first needs a new slab.
    const TaskOptions large{.name = "large", .stack_size = 1U << 20};
    const auto text_of = [&] {
      auto task = create_task(TaskOptions(large), [] {});
      task.wait();
      expect(!task.cancelled(), "not cancelled");
      return describe(task.exception());
    };
    for (const int error : {ENOMEM, EAGAIN}) {
      mmap.arm({nullptr, -error}, {.first = 1, .times = kAlways});
      const std::string text = text_of();
      mmap.disarm();
      expect(text.find("no memory for a stack of 1024 KiB (mmap") == 0, "mmap named in: " + text);
    }
    madvise.arm(-ENOMEM, {.first = 1, .times = kAlways});
    const std::string text = text_of();
    madvise.disarm();
    expect(text.empty() || text.find("no memory for a stack of 1024 KiB (madvise") == 0,
           "madvise named in: " + text);
    expect(text_of().empty(), "a stack, once there is memory again");
    const int before = rounds->load();
    wait_until([&] { return rounds->load() > before + 3; }, "the other task goes on");
    other.cancel();
    other.wait();
  });
}

TEST_CASE("A burst of tasks of which some get no stack ends each exactly once", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::mmap> mmap;
  on_loops([&] {
    std::atomic<int> ran = 0;
    int failed = 0;
    constexpr int kTasks = 300;
    mmap.arm({nullptr, -ENOMEM}, {.first = 3, .times = kAlways});
    std::vector<Task<>> tasks;
    for (int i = 0; i < kTasks; ++i) {
      tasks.push_back(create_task(TaskOptions{.name = "", .stack_size = 4U << 20}, [&] {
        ++ran;
        sleep(5ms);
      }));
    }
    for (auto& task : tasks) {
      task.wait();
      if (task.exception() != nullptr) ++failed;
    }
    mmap.disarm();
    expect_equal(ran.load() + failed, kTasks, "tasks that ran or failed");
  });
}
