#include <sys/eventfd.h>

#include <functional>
#include <memory>

#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

class Pipe {
 public:
  Pipe() { expect(::pipe2(fds_, O_NONBLOCK | O_CLOEXEC) == 0, "a pipe"); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_in();
    close_out();
  }
  [[nodiscard]] int out() const { return fds_[0]; }  // to read from
  [[nodiscard]] int in() const { return fds_[1]; }   // to write to
  void put(std::string_view text) const {
    expect(::write(in(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), "a write");
  }
  [[nodiscard]] std::string take() const {
    char buffer[65536];
    const ssize_t count = ::read(out(), buffer, sizeof buffer);
    return {buffer, static_cast<std::size_t>(std::max<ssize_t>(count, 0))};
  }
  void fill() const {
    const std::string text(4096, 'f');
    while (::write(in(), text.data(), text.size()) > 0) {
    }
  }
  void close_in() {
    if (fds_[1] >= 0) ::close(std::exchange(fds_[1], -1));
  }
  void close_out() {
    if (fds_[0] >= 0) ::close(std::exchange(fds_[0], -1));
  }

 private:
  int fds_[2];
};

}  // namespace

TEST_CASE("wait_readable waits for a pipe, again and again", "[fd]") {
  on_loops([] {
    Pipe pipe;
    for (int i = 0; i < 200; ++i) {
      auto waiter = create_task([&] { wait_readable(pipe.out()); });
      if (i % 2 == 0) {
        wait_until_waits(waiter, WaitReason::kReadable);
        expect(!waiter.done(), "still waiting");
      }
      pipe.put("x");
      await(waiter);
      expect(pipe.take() == "x", "the byte");
    }
    pipe.put("there already");
    wait_readable(pipe.out());
  });
}

TEST_CASE("wait_readable returns at the end of a pipe and nothing spins afterwards", "[fd]") {
  on_loops([] {
    Pipe pipe;
    auto waiter = create_task([&] { wait_readable(pipe.out()); });
    wait_until_waits(waiter, WaitReason::kReadable);
    pipe.close_in();
    await(waiter);
    wait_readable(pipe.out());  // as often as asked
    expect_calm("after the end of a pipe");
  });
}

TEST_CASE("wait_readable that was cancelled leaves nothing behind that spins", "[fd]") {
  on_loops([] {
    Pipe pipe;
    for (int i = 0; i < 50; ++i) {
      auto waiter = create_task([&] { wait_readable(pipe.out()); });
      if (i % 2 == 0) wait_until_waits(waiter, WaitReason::kReadable);
      waiter.cancel();
      waiter.wait();
      expect(waiter.cancelled(), "cancelled");
    }
    pipe.close_in();
    expect_calm("after a cancel and the end of a pipe");
    wait_readable(pipe.out());
  });
}

TEST_CASE("wait_writable waits while a pipe is full and returns when its reader is gone", "[fd]") {
  on_loops([] {
    Pipe pipe;
    wait_writable(pipe.in());
    pipe.fill();
    auto waiter = create_task([&] { wait_writable(pipe.in()); });
    wait_until_waits(waiter, WaitReason::kWritable);
    expect(!waiter.done(), "waits");
    while (!pipe.take().empty()) {
    }
    await(waiter);
    pipe.fill();
    auto again = create_task([&] { wait_writable(pipe.in()); });
    wait_until_waits(again, WaitReason::kWritable);
    pipe.close_out();
    await(again);
    expect_calm("after the reader has gone");
  });
}

TEST_CASE("wait_readable wakes all tasks that wait for one eventfd", "[fd]") {
  on_loops([] {
    const RawPeer event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    std::vector<Task<>> waiters;
    for (int i = 0; i < 10; ++i) waiters.push_back(create_task([&] { wait_readable(event.fd()); }));
    wait_until_all_wait(waiters, WaitReason::kReadable);
    waiters[3].cancel();
    waiters[3].wait();
    expect(waiters[3].cancelled(), "one is cancelled");
    ::eventfd_write(event.fd(), 1);
    for (std::size_t i = 0; i < waiters.size(); ++i) {
      if (i != 3) await(waiters[i]);
    }
  });
}

TEST_CASE("wait_readable and wait_writable of one socket are independent", "[fd]") {
  on_loops([] {
    int fds[2];
    expect(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0, "a socketpair");
    const RawPeer a(fds[0]);
    const RawPeer b(fds[1]);
    auto fill = [&] {
      const std::string text(4096, 'f');
      while (::send(a.fd(), text.data(), text.size(), MSG_DONTWAIT) > 0) {
      }
    };
    for (int i = 0; i < 20; ++i) {
      fill();
      auto reader = create_task([&] { wait_readable(a.fd()); });
      auto writer = create_task([&] { wait_writable(a.fd()); });
      wait_until_waits(reader, WaitReason::kReadable);
      wait_until_waits(writer, WaitReason::kWritable);
      expect(!reader.done() && !writer.done(), "both wait");
      if (i % 3 == 0) {  // a cancel of one leaves the other armed
        reader.cancel();
        reader.wait();
        while (!b.receive_now().empty()) {
        }
        await(writer);
      } else if (i % 3 == 1) {
        writer.cancel();
        writer.wait();
        b.send("x");
        await(reader);
        while (!b.receive_now().empty()) {
        }
      } else {
        b.send("x");
        await(reader);
        expect(!writer.done(), "the writer still waits");
        while (!b.receive_now().empty()) {
        }
        await(writer);
      }
      static_cast<void>(a.receive_now());
    }
  });
}

TEST_CASE("wait_readable refuses regular files with EPERM and closed fds with EBADF", "[fd]") {
  on_loops([] {
    const RawPeer file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    for (int i = 0; i < 3; ++i) {
      std::string text;
      expect_equal(error_of([&] { wait_readable(file.fd()); }, &text), EPERM, "errno");
      expect(text.find("epoll_ctl on fd " + std::to_string(file.fd())) != std::string::npos,
             "the call and fd in: " + text);
      expect_equal(error_of([&] { wait_writable(file.fd()); }), EPERM, "errno");
      expect_equal(error_of([&] { get_running_loop().add_reader(file.fd(), [] {}); }), EPERM, "errno");
      expect_equal(error_of([] { wait_readable(-1); }), EBADF, "errno");
    }
    expect(!get_running_loop().remove_reader(file.fd()), "nothing was added");
    Pipe pipe;  // the loop goes on
    pipe.put("x");
    wait_readable(pipe.out());
  });
}

TEST_CASE("wait_readable needs a task", "[fd]") {
  CHECK_THROWS_AS(wait_readable(0), RuntimeError);
  CHECK_THROWS_AS(wait_writable(0), RuntimeError);
}

TEST_CASE("wait_readable of a reused fd gets no event of the file that was there before", "[fd]") {
  on_loops([] {
    for (int i = 0; i < 200; ++i) {
      auto old_pipe = std::make_unique<Pipe>();
      const int number = old_pipe->out();
      auto waiter = create_task([&] { wait_readable(number); });
      wait_until_waits(waiter, WaitReason::kReadable);
      waiter.cancel();
      waiter.wait();
      const RawPeer twin(::dup(number));  // keeps the file, and what epoll knows of it, alive
      Pipe fresh;
      // The same number, now for another file.
      expect(::dup3(fresh.out(), number, O_CLOEXEC) == number, "dup3");
      auto next = create_task([&] { wait_readable(number); });
      wait_until_waits(next, WaitReason::kReadable);
      old_pipe->put("for the old one");
      let_others_wait();
      expect(!next.done(), "the old file's data wakes nobody");
      old_pipe->close_in();
      let_others_wait();
      expect(!next.done(), "nor does its end");
      fresh.put("x");
      await(next);
    }
  });
}

TEST_CASE("wait_readable of an fd number that is closed and opened again works at once", "[fd]") {
  on_loops([] {
    for (int i = 0; i < 1000 / kSlowdown; ++i) {
      Pipe pipe;
      auto waiter = create_task([&] { wait_readable(pipe.out()); });
      if (i % 2 == 0) yield();
      pipe.put("x");
      await(waiter);
    }
  });
}

TEST_CASE("add_reader calls back while there is something to read", "[fd]") {
  on_loops([] {
    EventLoop& loop = get_running_loop();
    Pipe pipe;
    std::atomic<int> calls = 0;
    loop.add_reader(pipe.out(), [&] { ++calls; });
    sleep(10ms);
    expect_equal(calls.load(), 0, "calls without data");
    pipe.put("x");
    wait_until([&] { return calls.load() >= 5; }, "called again as long as it is not read");
    static_cast<void>(pipe.take());
    const int before = calls.load();
    sleep(20ms);
    // One may have been queued already, or be running.
    expect(calls.load() <= before + 1, "no call begins after it was read");
    expect(loop.remove_reader(pipe.out()), "there was one");
    expect(!loop.remove_reader(pipe.out()), "there is none any more");
    pipe.put("x");
    sleep(10ms);
    expect(calls.load() <= before + 1, "no call after it was removed");
    expect_calm("after remove_reader");
  });
}

TEST_CASE("add_writer calls back while there is room, add replaces, remove stops", "[fd]") {
  on_loops([] {
    EventLoop& loop = get_running_loop();
    Pipe pipe;
    std::atomic<int> first = 0;
    std::atomic<int> second = 0;
    loop.add_writer(pipe.in(), [&] { ++first; });
    wait_until([&] { return first.load() >= 3; }, "called");
    loop.add_writer(pipe.in(), [&] { ++second; });
    wait_until([&] { return second.load() >= 3; }, "the new one is called");
    const int stopped = first.load();
    pipe.fill();
    const int full = second.load();
    sleep(20ms);
    // One of each may have been queued already, or be running.
    expect(second.load() <= full + 1, "no call begins while it is full");
    expect(first.load() <= stopped + 1, "no call of the old one");
    expect(loop.remove_writer(pipe.in()), "there was one");
  });
}

TEST_CASE("add_reader callback may remove itself, replace itself and throw", "[fd]") {
  on_loops(
      [] {
        EventLoop& loop = get_running_loop();
        Pipe pipe;
        pipe.put("x");
        std::atomic<int> calls = 0;
        loop.add_reader(pipe.out(), [&] {
          ++calls;
          loop.add_reader(pipe.out(), [&] {
            if (++calls < 4) throw std::runtime_error("again");
            loop.remove_reader(pipe.out());
          });
        });
        wait_until([&] { return calls.load() == 4; }, "four calls");
        sleep(10ms);
        expect_equal(calls.load(), 4, "calls");
      },
      true);
}

TEST_CASE("add_reader drops what a callback holds outside of its lock", "[fd]") {
  on_loops([] {
    EventLoop& loop = get_running_loop();
    Pipe pipe;
    // The destructor of what a replaced callback holds comes back to the loop.
    struct Returns {
      Returns(EventLoop& loop_of_it, int its_fd) : its_loop(loop_of_it), fd(its_fd) {}
      ~Returns() { its_loop.remove_writer(fd); }
      EventLoop& its_loop;
      int fd;
    };
    loop.add_reader(pipe.out(), [held = std::make_shared<Returns>(loop, pipe.out())] {});
    loop.add_reader(pipe.out(), [held = std::make_shared<Returns>(loop, pipe.out())] {});
    expect(loop.remove_reader(pipe.out()), "there was one");
    const RawPeer file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    expect_equal(error_of([&] {
                   loop.add_reader(file.fd(), [held = std::make_shared<Returns>(loop, pipe.out())] {});
                 }),
                 EPERM, "errno");
  });
}

TEST_CASE("add_reader at the end of a pipe goes on calling until it is removed", "[fd]") {
  on_loops([] {
    EventLoop& loop = get_running_loop();
    Pipe pipe;
    std::atomic<int> calls = 0;
    loop.add_reader(pipe.out(), [&] { ++calls; });
    pipe.close_in();
    wait_until([&] { return calls.load() >= 3; }, "level-triggered");
    expect(loop.remove_reader(pipe.out()), "there was one");
    expect_calm("after remove_reader at the end of a pipe");
  });
}

TEST_CASE("add_reader and a waiting task may share an fd", "[fd]") {
  on_loops([] {
    EventLoop& loop = get_running_loop();
    Pipe pipe;
    std::atomic<int> calls = 0;
    loop.add_reader(pipe.out(), [&] {
      static_cast<void>(pipe.take());
      ++calls;  // the last thing: it may run beside the body, which takes the pipe away then
    });
    auto waiter = create_task([&] { wait_readable(pipe.out()); });
    wait_until_waits(waiter, WaitReason::kReadable);
    pipe.put("x");
    await(waiter);
    wait_until([&] { return calls.load() >= 1; }, "called too");
    loop.remove_reader(pipe.out());
  });
}

// asyncio: test_events EventLoopTestsMixin.test_remove_fds_after_closing
// asyncio: test_events EventLoopTestsMixin.test_add_fds_after_closing
TEST_CASE("add_reader on a closed loop is refused and removing says false", "[fd]") {
  int fds[2];
  REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
  {
    EventLoop loop(Config{.workers = 2});
    loop.add_reader(fds[0], [] {});
    loop.run_until_complete([] { sleep(1ms); });
    loop.close();
    CHECK_THROWS_AS(loop.add_reader(fds[0], [] {}), RuntimeError);
    CHECK_FALSE(loop.remove_reader(fds[0]));
  }
  ::close(fds[0]);
  ::close(fds[1]);
}
