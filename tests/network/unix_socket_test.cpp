// UnixStream and UnixListener.
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <fstream>

#include "support/streams.hpp"
#include "support/temp_folder.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {
bool is_socket(const std::string& path) { return std::filesystem::is_socket(path); }
}  // namespace

TEST_CASE("Address of a Unix path, and of an abstract name", "[unix]") {
  CHECK(Address::from_path("/run/x.sock").to_string() == "unix:/run/x.sock");
  CHECK(Address::from_path(std::string_view("\0name", 5)).to_string() == "unix:@name");
  CHECK(Address::from_path("a") == Address::from_path("a"));
  CHECK_FALSE(Address::from_path("a") == Address::from_path("b"));
  CHECK(Address::from_path(std::string(107, 'p')).host() == std::string(107, 'p'));
  CHECK_THROWS_AS(Address::from_path(std::string(108, 'p')), std::invalid_argument);
  CHECK_THROWS_AS(Address::from_path(""), std::invalid_argument);
  CHECK_THROWS_AS(Address::from_path(std::string_view("a\0b", 3)), std::invalid_argument);
}

// asyncio: test_streams StreamTests.test_open_unix_connection
TEST_CASE("Unix sockets carry data both ways; by path and by abstract name", "[unix]") {
  const std::vector<std::byte> data = test_data(1'000'000);
  const TempFolder folder;
  for (const std::string& path :
       {folder / "s", std::string("\0fibrio-test-", 13) + std::to_string(::getpid())}) {
    on_loops([&] {
      UnixListener listener = UnixListener::bind(path);
      expect(listener.local_address() == Address::from_path(path), "its address");
      auto serving = create_task([&] {
        UnixStream stream = listener.accept();
        echo(stream);
      });
      auto [reader, writer] = open_unix_connection(path);
      writer.write(data);
      writer.write_eof();
      const std::string received = reader.read();
      expect(std::ranges::equal(std::as_bytes(std::span(received)), data), "the data");
      await(serving);
    });
  }
}

// asyncio: test_streams StreamTests.test_open_unix_connection_error
TEST_CASE("Unix connect: nobody there, no socket, a full queue", "[unix]") {
  const TempFolder folder;
  on_loops([&] {
    std::string text;
    expect_equal(error_of([&] { (void)UnixStream::connect(folder / "none"); }, &text), ENOENT, "errno");
    expect(text.find(folder / "none") != std::string::npos, text);
    std::ofstream(folder / "file") << "x";
    expect_equal(error_of([&] { (void)UnixStream::connect(folder / "file"); }), ECONNREFUSED, "errno");
    UnixListener listener = UnixListener::bind(folder / "s", {.backlog = 1});
    std::vector<UnixStream> waiting;
    bool is_full = false;
    for (int i = 0; i < 5 && !is_full; ++i) {
      try {
        waiting.push_back(UnixStream::connect(folder / "s", {.timeout = 20ms}));
      } catch (const TimeoutError&) {
        is_full = true;
      }
    }
    expect(is_full, "a full queue makes connect wait");
    auto connecting = create_task([&] { return UnixStream::connect(folder / "s").is_open(); });
    wait_until_waits(connecting, WaitReason::kSleep);
    static_cast<void>(listener.accept());
    expect(await(connecting), "it goes on when there is room");
  });
}

// asyncio: test_unix_events SelectorEventLoopUnixSocketTests.test_create_unix_server_existing_path_sock
// asyncio: test_unix_events SelectorEventLoopUnixSocketTests.test_create_unix_server_existing_path_nonsock
// asyncio: test_unix_events SelectorEventLoopUnixSocketTests.test_create_unix_server_bind_error
TEST_CASE("UnixListener: a socket file in the way is replaced, any other file is not", "[unix]") {
  const TempFolder folder;
  on_loops([&] {
    { const UnixListener stale = UnixListener::bind(folder / "s", {.cleanup_socket = false}); }
    expect(is_socket(folder / "s"), "a stale socket");
    {
      UnixListener listener = UnixListener::bind(folder / "s");
      auto client = UnixStream::connect(folder / "s");
      static_cast<void>(listener.accept());
    }
    expect(!std::filesystem::exists(folder / "s"), "removed");
    std::ofstream(folder / "file") << "x";
    std::string text;
    expect_equal(error_of([&] { (void)UnixListener::bind(folder / "file"); }, &text), EADDRINUSE, "errno");
    expect(text.find(folder / "file") != std::string::npos, text);
    expect(std::filesystem::is_regular_file(folder / "file"), "the file is left");
    expect_equal(error_of([&] { (void)UnixListener::bind(folder / "none/s"); }), ENOENT, "errno");
  });
}

TEST_CASE("UnixListener::close removes its file, but not a successor's, and none that is gone", "[unix]") {
  const TempFolder folder;
  on_loops([&] {
    UnixListener first = UnixListener::bind(folder / "s");
    UnixListener second = UnixListener::bind(folder / "s");  // takes the file from under the first
    first.close();
    expect(is_socket(folder / "s"), "the successor's");
    std::filesystem::remove(folder / "s");
    second.close();
    second.close();
    expect(!second.is_open(), "closed");
    UnixListener moved;
    moved = UnixListener::bind(folder / "s");
    moved = UnixListener::bind(folder / "t");
    expect(!std::filesystem::exists(folder / "s") && is_socket(folder / "t"), "the one before it was closed");
  });
}

TEST_CASE("UnixListener::close wakes who waits in accept", "[unix]") {
  const TempFolder folder;
  on_loops([&] {
    UnixListener listener = UnixListener::bind(folder / "s");
    auto accepting = create_task([&] { return error_of([&] { (void)listener.accept(); }); });
    wait_until_waits(accepting, WaitReason::kReadable);
    listener.close();
    expect_equal(await(accepting), ECANCELED, "errno");
  });
}
