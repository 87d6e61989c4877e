// The scripted uses of fail-at-k.
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>

#include "ends/fail_at_k.hpp"
#include "fibrio/fibrio.hpp"

namespace fibrio::test {

namespace {

using namespace std::chrono_literals;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Config config_for(std::size_t workers) {
  Config config;
  config.workers = workers;
  config.max_blocking_threads = 2;
  return config;
}

// Runs `main`; whatever happens nothing may be left on the loop.
template <class Main>
void on_loop(std::size_t workers, Main main) {
  EventLoop loop(config_for(workers));
  loop.set_exception_handler([](EventLoop&, const ExceptionContext&) {});
  std::exception_ptr error;
  try {
    loop.run_until_complete([&] { timeout(10s, main); });
  } catch (...) {
    error = std::current_exception();
  }
  loop.close();
  const LoopStats stats = loop.stats();
  require(stats.tasks_alive == 0 && stats.stacks_in_use == 0, "a task or a stack is left");
  if (error) std::rethrow_exception(error);
}

template <class Stream>
std::string read_rest(Stream& stream) {
  std::string all;
  std::array<char, 512> buffer;
  while (const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(buffer)))) {
    all.append(buffer.data(), count);
  }
  return all;
}

void use_tasks(std::size_t workers) {
  on_loop(workers, [] {
    Queue<int> queue(2);
    int sum = 0;
    task_group([&](TaskGroup& group) {
      group.create_task([&] {
        for (int i = 1; i <= 5; ++i) queue.put(i);
        queue.shutdown();
      });
      group.create_task([&] {
        try {
          for (;;) sum += queue.get();
        } catch (const QueueShutDown&) {
        }
      });
    });
    require(sum == 15, "items of a queue are lost");
    require(!all_tasks().empty(), "all_tasks misses the caller");
    Lock lock;
    int total = 0;
    task_group([&](TaskGroup& group) {
      for (int i = 0; i < 5; ++i) {
        group.create_task([&, i] {
          const std::lock_guard guard(lock);
          sleep(100us);
          total += i;
        });
      }
    });
    require(total == 10, "results are lost");
    Future<int> future = get_running_loop().create_future<int>();
    get_running_loop().call_later(100us, [future]() mutable { future.try_set_result(3); });
    require(wait_for(future, 5s) == 3, "a result is wrong");
  });
}

// Cancels that go through chains of awaits and gathers arrive, with or without memory for their text and their way.
void use_cancels(std::size_t workers) {
  on_loop(workers, [] {
    const auto chain = [](auto& self, int depth) -> void {
      if (depth == 0) return sleep(60s);
      if (depth % 3 != 0) {
        await(create_task([&self, depth] { self(self, depth - 1); }));
      } else {
        gather(create_task([&self, depth] { self(self, depth - 1); }), create_task([] { sleep(60s); }));
      }
    };
    auto outer = create_task([&] { chain(chain, 9); });
    sleep(1ms);
    outer.cancel("with a text that is too long for a small string");
    outer.wait();
    require(outer.cancelled() || outer.exception() != nullptr, "a cancel is lost");
    bool timed_out = false;
    try {
      timeout(1ms, [&] { chain(chain, 9); });
    } catch (const TimeoutError&) {
      timed_out = true;
    }
    require(timed_out, "a timeout is lost");
  });
}

void use_threads(std::size_t workers) {
  on_loop(workers, [] {
    int sum = 0;
    for (int i = 1; i <= 3; ++i) sum += to_thread([i] { return i; });
    require(sum == 6, "a thread's result is wrong");
  });
}

template <class Listener, class Connect>
void echo(Listener& listener, Connect connect) {
  const std::string text(20'000, 'e');
  std::string arrived;
  std::string got;
  task_group([&](TaskGroup& group) {
    group.create_task([&] {
      auto stream = listener.accept();
      arrived = read_rest(stream);
      stream.write_all(bytes(arrived));
    });
    auto stream = connect();
    stream.write_all(bytes(text));
    stream.shutdown_write();
    got = read_rest(stream);
  });
  require(arrived == text && got == text, "bytes are lost");
}

void use_tcp(std::size_t workers) {
  on_loop(workers, [] {
    TcpListener listener = TcpListener::bind(Address::parse("127.0.0.1", 0));
    echo(listener, [address = listener.local_address()] {
      TcpStream stream = TcpStream::connect(address);
      require(stream.get_option(SOL_SOCKET, SO_TYPE) == SOCK_STREAM, "an option is wrong");
      return stream;
    });
  });
}

void use_streams(std::size_t workers) {
  on_loop(workers, [] {
    const std::string path = "/tmp/fibrio_ends_" + std::to_string(::getpid());
    ::unlink(path.c_str());
    Server server = start_unix_server(
        [](StreamReader& reader, StreamWriter& writer) {
          writer.write(reader.readline());
          writer.drain();
        },
        path);
    auto [reader, writer] = open_unix_connection(path);
    writer.write("hello\n");
    writer.drain();
    const std::string line = reader.readline();
    require(line == "hello\n" || line.empty(), "a line is wrong");
    if (line.empty()) throw std::runtime_error("the server has gone");
    writer.close();
    server.close();
    server.wait_closed();
  });
}

void use_process(std::size_t workers) {
  on_loop(workers, [] {
    Process child = create_subprocess_exec({"cat"}, {.stdin = PIPE, .stdout = PIPE});
    require(child.communicate("text").first == "text", "a child's output is wrong");
    require(child.wait() == 0, "a child's status is wrong");
  });
}

void use_datagrams(std::size_t workers) {
  on_loop(workers, [] {
    UdpSocket receiver = UdpSocket::bind(Address::parse("127.0.0.1", 0));
    UdpSocket sender = UdpSocket::connect(receiver.local_address());
    sender.send(std::string_view("text"));
    std::array<char, 16> buffer;
    const Datagram datagram = receiver.recv_from(std::as_writable_bytes(std::span(buffer)));
    require(std::string_view(buffer.data(), datagram.size) == "text", "a datagram is wrong");
  });
}

void use_file(std::size_t workers) {
  on_loop(workers, [] {
    char path[] = "/tmp/fibrio_ends_file_XXXXXX";
    const int file = ::mkstemp(path);
    require(file >= 0, "mkstemp fails");
    ::unlink(path);
    struct Close {
      ~Close() { ::close(file); }
      int file;
    } const close{file};
    const std::string text(5000, 'f');
    require(::pwrite(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()), "pwrite fails");
    TcpListener listener = TcpListener::bind(Address::parse("127.0.0.1", 0));
    std::string got;
    std::uint64_t sent = 0;
    task_group([&](TaskGroup& group) {
      group.create_task([&] {
        TcpStream stream = TcpStream::connect(listener.local_address());
        got = read_rest(stream);
      });
      TcpStream stream = listener.accept();
      sent = stream.send_file(file);
      stream.close();
    });
    require(got == text && sent == text.size(), "a file arrives wrongly");
  });
}

}  // namespace

std::span<const FailScript> fail_scripts() {
  static constexpr FailScript kScripts[] = {
      {"tasks", use_tasks},          {"threads", use_threads},
      {"cancels", use_cancels},      {"tcp", use_tcp},
      {"unix streams", use_streams}, {"process", use_process},
      {"datagrams", use_datagrams},  {"file", use_file},
  };
  return kScripts;
}

}  // namespace fibrio::test
