// The end of a server is the end of its handlers: Server::shutdown, ~Server.
#include <unistd.h>

#include <functional>
#include <optional>

#include "support/streams.hpp"
#include "support/temp_folder.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

// What a handler refers to, declared before its server.
struct Room {
  std::atomic<int> inside{0};
  std::atomic<int> visits{0};
};
struct Visit {
  explicit Visit(Room& its_room) : room(its_room) {
    ++room.visits;
    ++room.inside;
  }
  ~Visit() { --room.inside; }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  Room& room;
};

ConnectionHandler visitor(Room& room) {
  return [&room](StreamReader& reader, StreamWriter&) {
    const Visit visit(room);
    while (!reader.readline().empty()) {
    }
  };
}

Server serve(ConnectionHandler handler, ServerOptions options = {}) {
  return start_server(std::move(handler), "127.0.0.1", 0, std::move(options));
}
// Clients that stay, each in its handler.
std::vector<TcpStream> fill(const Server& server, Room& room, int clients) {
  std::vector<TcpStream> streams;
  const int before = room.visits;
  for (int i = 0; i < clients; ++i) streams.push_back(TcpStream::connect(server.sockets().at(0)));
  wait_until([&] { return room.visits == before + clients; }, "every handler runs");
  return streams;
}

}  // namespace

TEST_CASE("A server's destructor ends its handlers, which refer to what is declared before it",
          "[server][end]") {
  on_loops([] {
    Room room;
    std::vector<TcpStream> clients;
    {
      Server server = serve(visitor(room));
      clients = fill(server, room, 5);
    }
    expect_equal(room.inside.load(), 0, "handlers that run");
    {
      Server server = serve(visitor(room));
      const auto others = fill(server, room, 2);
      server = serve(visitor(room));
      expect_equal(room.inside.load(), 0, "handlers of the server that was replaced");
    }
  });
}

TEST_CASE("A server's destructor waits in a task that is cancelled or unwinds", "[server][end]") {
  on_loops([] {
    Room room;
    std::atomic<bool> is_full{false};
    auto owner = create_task([&] {
      Server server = serve(visitor(room));
      const auto clients = fill(server, room, 3);
      is_full = true;
      server.serve_forever();
    });
    wait_until([&] { return is_full.load(); }, "clients are inside");
    owner.cancel();
    owner.wait();
    expect(owner.cancelled(), "serve_forever is cancelled, though clients stay");
    expect_equal(room.inside.load(), 0, "handlers that run");
  });
}

TEST_CASE("Server::shutdown waits for handlers, and cancels those that outlast its grace", "[server][end]") {
  on_loops([] {
    Room room;
    Server server = serve(visitor(room));
    auto clients = fill(server, room, 3);
    auto leaver = create_task([&] {
      wait_until([&] { return !server.is_serving(); }, "the server is closed");
      clients.clear();
    });
    server.shutdown(1h);
    await(leaver);
    expect_equal(room.inside.load(), 0, "handlers after a long grace");
    expect_equal(server.connections(), 0, "connections");
    server.shutdown(1h);  // once more

    Server other = serve(visitor(room));
    const auto stayers = fill(other, room, 3);
    other.shutdown(1ms);
    expect_equal(room.inside.load(), 0, "handlers after a short grace");
    expect(!other.is_serving(), "closed");
  });
}

TEST_CASE("Server::shutdown that is cancelled leaves the handlers to the destructor", "[server][end]") {
  on_loops([] {
    Room room;
    {
      Server server = serve(visitor(room));
      const auto clients = fill(server, room, 1);
      auto ender = create_task([&] { server.shutdown(Duration::max()); });
      wait_until([&] { return !server.is_serving(); }, "the server is closed");
      ender.cancel();
      ender.wait();
      expect(ender.cancelled(), "cancelled");
      expect_equal(room.inside.load(), 1, "handlers");
    }
    expect_equal(room.inside.load(), 0, "handlers");
  });
}

TEST_CASE("A handler may shut its server down, or drop it", "[server][end]") {
  on_loops([] {
    Room room;
    std::optional<Server> server;
    Event ended;
    const auto ends_by = [&](const std::function<void()>& end) {
      ended.clear();
      server.emplace(serve([&, end](StreamReader& reader, StreamWriter&) {
        const Visit visit(room);
        if (reader.readline() != "end\n") return;
        end();
        expect_equal(room.inside.load(), 1, "the handler that ends the server is the last");
        ended.set();
      }));
      const auto stayers = fill(*server, room, 2);
      TcpStream last = TcpStream::connect(server->sockets().at(0));
      last.write_all("end\n");
      ended.wait();
      server.reset();
    };
    ends_by([&] { server->shutdown(0s); });
    ends_by([&] { server.reset(); });
    ends_by([&] {  // in a task that the handler awaits
      auto dropper = create_task([&server, handler = current_task()] {
        wait_until_waits(handler);
        server.reset();
      });
      try {
        dropper.wait();
      } catch (const CancelledError&) {  // of the handler, which ~Server cancels
      }
    });
  });
}

TEST_CASE("A handler that ends its server as soon as it runs is not cancelled by that", "[server][end]") {
  on_loops([] {
    for (int i = 0; i < 300; ++i) {
      std::optional<Server> server;
      std::atomic<bool> is_made{false};
      Event ended;
      server.emplace(serve([&](StreamReader&, StreamWriter&) {
        while (!is_made) yield();
        server->shutdown(0s);
        ended.set();
      }));
      is_made = true;
      const TcpStream client = TcpStream::connect(server->sockets().at(0));
      timeout(10s, [&] { ended.wait(); });
    }
  });
}

namespace {

// Waits, and lets no cancel in.
void wait_masked_until_waits(const AnyTask& task) {
  const CancelMask mask;
  wait_until_waits(task);
}
// Ends when a handler has ended that `wait_for_it` makes wait for the task that drops its server.
void drop_from_handler(const std::function<void(Task<>& dropper)>& wait_for_it) {
  Room room;
  std::optional<Server> server;
  Event ended;
  server.emplace(serve([&](StreamReader& reader, StreamWriter&) {
    {
      const Visit visit(room);
      if (reader.readline() != "end\n") return;
    }
    auto dropper = create_task([&] { server.reset(); });
    try {
      wait_for_it(dropper);
    } catch (const CancelledError&) {
    }
    const CancelMask mask;
    dropper.wait();
    ended.set();  // nothing of the frame around this is there afterwards
  }));
  const auto stayers = fill(*server, room, 2);
  TcpStream last = TcpStream::connect(server->sockets().at(0));
  last.write_all("end\n");
  ended.wait();
}

void on_virtual_loops(const std::function<void()>& body, bool ignores_reports = false) {
  for (const std::size_t workers : {1U, 2U, 4U})
    on_loop(
        {.workers = workers, .migrates = false, .virtual_time = true}, [&] { body(); }, ignores_reports);
}

}  // namespace

TEST_CASE("A handler that is cancelled before it awaits the task that drops its server does not hang",
          "[server][end]") {
  on_loops([] {
    drop_from_handler([](Task<>& dropper) {
      wait_masked_until_waits(dropper);  // in ~Server: this handler is cancelled, and does not know it
      dropper.wait();
    });
  });
}

TEST_CASE("A handler may wait by others for the task that drops its server", "[server][end]") {
  on_loops([] {
    drop_from_handler([](Task<>& dropper) {
      auto middle = create_task([&] { dropper.wait(); });
      wait_masked_until_waits(dropper);
      middle.wait();
    });
    drop_from_handler([](Task<>& dropper) {
      auto other = create_task([] { sleep(1h); });
      wait_masked_until_waits(dropper);
      (void)gather(dropper, other);
    });
    drop_from_handler([](Task<>& dropper) {
      task_group([&](TaskGroup& group) {
        (void)group.create_task([&] { dropper.wait(); });
        wait_masked_until_waits(dropper);
      });
    });
  });
}

TEST_CASE("A handler that swallows its cancel may await the task that drops its server", "[server][end]") {
  on_virtual_loops([] {
    drop_from_handler([](Task<>& dropper) {
      try {
        sleep(1000h);
      } catch (const CancelledError&) {
      }
      wait_until_waits(dropper);
      dropper.wait();
    });
  });
}

TEST_CASE("A handler that goes on though the end of its server has cancelled it is named", "[server][end]") {
  on_virtual_loops(
      [] {
        ReportsHere reports;
        Event free;
        std::optional<Server> server;
        Room room;
        server.emplace(serve([&](StreamReader&, StreamWriter&) {
          const Visit visit(room);
          AnyTask(current_task()).set_name("stubborn");
          const CancelMask mask;
          free.wait();
        }));
        const auto client = fill(*server, room, 1);
        auto dropper = create_task([&] { server.reset(); });
        sleep(1min);
        free.set();
        await(dropper);
        const auto texts = reports.take();
        expect_equal(texts.size(), 1, "reports");
        expect(texts[0].find("'stubborn'") != std::string::npos, texts[0]);
      },
      true);
}

TEST_CASE("Two handlers that shut their server down do not wait for each other", "[server][end]") {
  on_loops([] {
    Room room;
    Server server = serve([&](StreamReader& reader, StreamWriter&) {
      const Visit visit(room);
      static_cast<void>(reader.readline());
      server.shutdown(Duration::max());
    });
    auto clients = fill(server, room, 2);
    for (TcpStream& client : clients) client.write_all("end\n");
    wait_until([&] { return room.inside == 0; }, "both have ended");
  });
}

TEST_CASE("What a handler owns goes with its server", "[server][end]") {
  on_loops([] {
    auto owned = std::make_shared<Room>();
    const std::weak_ptr<Room> watch = owned;
    TcpStream client;
    {
      Server server = serve([owned](StreamReader& reader, StreamWriter&) {
        const Visit visit(*owned);
        static_cast<void>(reader.readline());
      });
      auto clients = fill(server, *owned, 1);
      client = std::move(clients[0]);
      owned.reset();
    }
    expect(watch.expired(), "the handler's callable is destroyed");
  });
}

TEST_CASE("A server that outlives its loop, or is dropped outside of it, harms nobody", "[server][end]") {
  for (const std::size_t workers : {1U, 2U}) {
    Room room;
    std::optional<Server> server;
    std::vector<TcpStream> clients;
    Config config;
    config.workers = workers;
    {
      EventLoop loop(config);
      loop.run_until_complete([&] {
        server.emplace(serve(visitor(room)));
        clients = fill(*server, room, 2);
      });
      server.reset();  // the loop does not run: cancelled, and not waited for
      loop.run_until_complete([&] { wait_until([&] { return room.inside == 0; }, "they end"); });
      loop.run_until_complete([&] {
        server.emplace(serve(visitor(room)));
        clients = fill(*server, room, 2);
        to_thread([&] { server.reset(); });  // the thread blocks
        expect_equal(room.inside.load(), 0, "handlers after a plain thread has dropped the server");
      });
      loop.run_until_complete([&] {
        wait_until([&] { return room.inside == 0; }, "they end");
        server.emplace(serve(visitor(room)));
        clients = fill(*server, room, 2);
      });
      clients.clear();
    }
    CHECK(room.inside == 0);
    server.reset();
  }
}

TEST_CASE("A server on a Unix socket ends as any other", "[server][end]") {
  const TempFolder folder;
  on_loops([&] {
    Room room;
    const std::string path = folder / "socket";
    TcpStream client;
    {
      Server server = start_unix_server(visitor(room), path);
      auto streams = open_unix_connection(path);
      wait_until([&] { return room.visits == 1; }, "the handler runs");
      server.shutdown(0s);
      expect_equal(room.inside.load(), 0, "handlers");
    }
    expect(::access(path.c_str(), F_OK) != 0, "the socket's file is gone");
  });
}

// strand.hpp: what is started on a strand belongs to it.
TEST_CASE("A server that is started on a strand serves on it", "[server][strand]") {
  on_loops([] {
    Strand strand("app");
    int inside = 0;  // only the strand protects it
    int most = 0;
    strand.run([&] {
      Server server = serve([&](StreamReader& reader, StreamWriter& writer) {
        expect(Strand::current() != nullptr && Strand::current()->name() == "app", "on the strand");
        most = std::max(most, ++inside);
        writer.write(reader.readline());
        writer.drain();
        --inside;
      });
      std::vector<Streams> clients;
      for (int i = 0; i < 8; ++i)
        clients.push_back(open_connection("127.0.0.1", server.sockets().at(0).port()));
      for (auto& [reader, writer] : clients) writer.write("word\n");
      for (auto& [reader, writer] : clients) expect_text(reader.readline(), "word\n", "the answer");
      server.shutdown(1h);
    });
    expect_equal(inside, 0, "handlers inside");
  });
}
