// Virtual time beside sockets, signals and other fds.
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "fibrio/pipes.hpp"
#include "fibrio/signals.hpp"
#include "fibrio/subprocess.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

template <class Body>
void on_virtual_loops(Body body) {
  for (const std::size_t workers : {1U, 2U, 4U}) {
    INFO(workers << " worker(s)");
    Config config;
    config.workers = workers;
    config.virtual_time = true;
    config.seed = 1;
    std::string failure;
    try {
      EventLoop loop(config);
      loop.run_until_complete(body);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    CHECK(failure == "");
  }
}

}  // namespace

TEST_CASE("Virtual time does not jump over data that has arrived", "[virtual_time]") {
  on_virtual_loops([] {
    for (int round = 0; round < 5; ++round) {
      StreamPair pair = connect_pair();
      auto server = create_task([&] { echo(pair.server); });
      std::array<std::byte, 100> buffer{};
      for (int i = 0; i < 200; ++i) {
        pair.client.write_all("hello");
        timeout(1s, [&] { return pair.client.read_some(buffer); });
      }
      pair.client.close();
      await(server);
    }
  });
}

TEST_CASE("Virtual time goes on beside a wait that only the outside can end", "[virtual_time]") {
  on_virtual_loops([] {
    SignalStream signals{SIGUSR2};
    auto listens = create_task([&] { static_cast<void>(signals.next()); });
    int fds[2];
    expect(::pipe(fds) == 0, "pipe");
    auto watches = create_task([&] { wait_readable(fds[0]); });
    StreamPair pair = connect_pair();
    auto reads = create_task([&] { static_cast<void>(read_once(pair.server)); });
    const auto begin = get_running_loop().time();
    for (int hour = 0; hour < 100; ++hour) sleep(1h);  // real time passes once, not with each
    expect(get_running_loop().time() - begin == 100h, "a hundred hours");
    for (AnyTask task : {AnyTask(listens), AnyTask(watches), AnyTask(reads)}) {
      expect(!task.done(), "the wait goes on");
      task.cancel();
    }
    wait_until([&] { return listens.done() && watches.done() && reads.done(); }, "they end");
    ::close(fds[0]);
    ::close(fds[1]);
  });
}

TEST_CASE("Virtual time waits for the outside a while, and for a child to its end", "[virtual_time]") {
  on_virtual_loops([] {
    int fds[2];
    expect(::pipe(fds) == 0, "pipe");
    std::thread sender([&] {
      std::this_thread::sleep_for(10ms);
      static_cast<void>(!::write(fds[1], "x", 1));
    });
    timeout(1h, [&] { wait_readable(fds[0]); });
    sender.join();
    Process child = create_subprocess_exec({"sleep", "1.2"});
    expect_equal(timeout(1h, [&] { return child.wait(); }), 0, "the child's status");
    ::close(fds[0]);
    ::close(fds[1]);
  });
}

TEST_CASE("Virtual time names the waits when nothing can end them", "[virtual_time]") {
  for (const std::size_t workers : {1U, 2U}) {
    Config config;
    config.workers = workers;
    config.virtual_time = true;
    std::string text;
    try {
      run(
          [] {
            current_task().set_name("reader of nothing");
            StreamPair pair = connect_pair();
            static_cast<void>(read_once(pair.server));
          },
          config);
    } catch (const DeadlockError& error) {
      text = error.what();
    }
    CHECK_THAT(text, Catch::Contains("'reader of nothing' for a readable"));
  }
}
