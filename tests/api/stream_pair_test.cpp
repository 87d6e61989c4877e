// Connections in memory: they do what TCP does, at the time that the test says.
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "fibrio/testing.hpp"
#include "support/loops.hpp"

namespace {

using namespace fibrio;
using namespace fibrio::test;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string read_once(ByteStream& stream) {
  std::array<char, 1024> buffer;
  return {buffer.data(), stream.read_some(std::as_writable_bytes(std::span(buffer)))};
}
std::string read_rest(ByteStream& stream) {
  std::string all;
  for (std::string part = read_once(stream); !part.empty(); part = read_once(stream)) all += part;
  return all;
}
template <class F>
int error_of(F&& call) {
  try {
    std::forward<F>(call)();
  } catch (const std::system_error& error) {
    return error.code().value();
  }
  return 0;
}
int read_error(ByteStream& stream) {
  return error_of([&] { read_once(stream); });
}
int write_error(ByteStream& stream) {
  return error_of([&] { stream.write_all(bytes("x")); });
}
Duration since(TimePoint begin) { return get_running_loop().time() - begin; }

}  // namespace

TEST_CASE("A stream pair carries bytes both ways and ends each way by itself", "[testing]") {
  in_tasks([](EventLoop&) {
    StreamPair pair = make_stream_pair({.capacity = 8, .max_read = 3, .max_write = 5});
    Task<std::string> echo = create_task([&] {
      std::string all = read_rest(*pair.second);
      pair.second->write_all(bytes(all));
      pair.second->shutdown_write();
      return all;
    });
    const std::string text(1000, 'a');
    pair.first->write_all(bytes(text));
    pair.first->shutdown_write();
    TASK_CHECK(read_rest(*pair.first) == text);
    TASK_CHECK(await(echo) == text);
    TASK_CHECK(write_error(*pair.first) == EPIPE);
    TASK_CHECK(pair.first->native_handle() == -1);
  });
}

TEST_CASE("A stream pair takes its latency on the loop's clock", "[testing]") {
  in_tasks([](EventLoop& loop) {
    StreamPair pair = make_stream_pair({.latency = 30ms});
    const TimePoint begin = loop.time();
    pair.first->write_all(bytes("one"));
    sleep(10ms);
    pair.first->write_all(bytes("two"));
    pair.first->close();
    TASK_CHECK(read_once(*pair.second) == "one");
    TASK_CHECK(since(begin) == 30ms);
    TASK_CHECK(read_once(*pair.second) == "two");
    TASK_CHECK(since(begin) == 40ms);
    TASK_CHECK(read_once(*pair.second).empty());
    TASK_CHECK(write_error(*pair.second) == EPIPE);
  });
}

TEST_CASE("A cancelled read or write leaves a stream pair usable and loses nothing", "[testing]") {
  in_tasks([](EventLoop& loop) {
    StreamPair pair = make_stream_pair({.latency = 20ms, .capacity = 4});
    const TimePoint begin = loop.time();
    TASK_CHECK(throws<TimeoutError>([&] { timeout(5ms, [&] { return read_once(*pair.second); }); }));
    pair.first->write_all(bytes("abcd"));
    // Cancelled while the bytes are on their way, and while there is no room.
    TASK_CHECK(throws<TimeoutError>([&] { timeout(5ms, [&] { return read_once(*pair.second); }); }));
    TASK_CHECK(
        throws<TimeoutError>([&] { timeout(5ms, [&] { return pair.first->write_some(bytes("e")); }); }));
    TASK_CHECK(pair.first->try_write_some(bytes("e")) == 0);
    TASK_CHECK(read_once(*pair.second) == "abcd");
    TASK_CHECK(since(begin) == 25ms);
    TASK_CHECK(pair.first->write_some(bytes("efghij")) == 4);
    TASK_CHECK(read_once(*pair.second) == "efgh");
  });
}

TEST_CASE("An end of a stream pair may be destroyed while a task waits at the other", "[testing]") {
  in_tasks([](EventLoop&) {
    for (const bool is_reset : {false, true}) {
      StreamPair pair = make_stream_pair({.capacity = 1});
      Task<int> reader = create_task([&] { return read_error(*pair.second); });
      pair.second->write_all(bytes("x"));
      Task<int> writer = create_task([&] { return write_error(*pair.second); });
      sleep(1ms);
      if (is_reset) pair.first->abort();
      pair.first.reset();
      TASK_CHECK(await(reader) == (is_reset ? ECONNRESET : 0));
      TASK_CHECK(await(writer) == (is_reset ? ECONNRESET : EPIPE));
    }
  });
}

TEST_CASE("A task inside of a stream pair that is closed gets ECANCELED", "[testing]") {
  in_tasks([](EventLoop&) {
    StreamPair pair = make_stream_pair({.capacity = 1});
    pair.first->write_all(bytes("x"));
    Task<int> reader = create_task([&] { return read_error(*pair.first); });
    Task<int> writer = create_task([&] { return write_error(*pair.first); });
    sleep(1ms);
    pair.first->close();
    pair.first->close();
    TASK_CHECK(await(reader) == ECANCELED);
    TASK_CHECK(await(writer) == ECANCELED);
    TASK_CHECK(!pair.first->is_open());
    TASK_CHECK(read_error(*pair.first) == EBADF);
    TASK_CHECK(read_rest(*pair.second) == "x");
  });
}

TEST_CASE("A stream pair that is cut delivers what was written before, then resets both ends", "[testing]") {
  in_tasks([](EventLoop&) {
    StreamPair pair = make_stream_pair({.latency = 1ms, .cut_first_after = 5});
    pair.second->write_all(bytes("from second"));
    TASK_CHECK(error_of([&] { pair.first->write_all(bytes("from first")); }) == ECONNRESET);
    TASK_CHECK(read_once(*pair.second) == "from ");
    TASK_CHECK(read_error(*pair.second) == ECONNRESET);
    TASK_CHECK(write_error(*pair.second) == ECONNRESET);
    TASK_CHECK(read_once(*pair.first) == "from second");
    TASK_CHECK(read_error(*pair.first) == ECONNRESET);
  });
}

TEST_CASE("A stream pair outside of a loop is made, closed and destroyed; its options are checked",
          "[testing]") {
  {
    StreamPair pair = make_stream_pair({.latency = 1ms});
    CHECK(pair.first->try_write_some(bytes("x")) == 1);
    CHECK(read_once(*pair.second) == "x");
    pair.second->abort();
  }
  CHECK_THROWS_AS(make_stream_pair({.latency = -1ms}), std::invalid_argument);
  CHECK_THROWS_AS(make_stream_pair({.capacity = 0}), std::invalid_argument);
  CHECK_THROWS_AS(make_stream_pair({.max_read = 0}), std::invalid_argument);
  StreamPair pair = make_stream_pair({.cut_second_after = 0, .half_close = false});
  CHECK(read_error(*pair.first) == ECONNRESET);
  CHECK(!pair.first->can_shutdown_write());
  CHECK(error_of([&] { pair.first->shutdown_write(); }) == ENOTSUP);
}

TEST_CASE("Both ends of a stream pair work from any worker at once", "[testing]") {
  in_tasks([](EventLoop&) {
    task_group([](TaskGroup& group) {
      for (int i = 0; i < 8; ++i) {
        group.create_task([i] {
          StreamPair pair = make_stream_pair({.capacity = 7, .max_read = 5});
          const std::string text(500, static_cast<char>('a' + i));
          Task<std::string> reader = create_task([&] { return read_rest(*pair.second); });
          pair.first->write_all(bytes(text));
          pair.first.reset();
          TASK_CHECK(await(reader) == text);
        });
      }
    });
  });
}
