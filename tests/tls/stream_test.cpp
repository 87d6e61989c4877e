#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;

TEST_CASE("A TLS stream carries data both ways, and says what was agreed on", "[tls]") {
  on_loops([] {
    TlsPair pair = tls_pair();
    write_text(*pair.client, "question");
    expect(read_text(*pair.server, 8) == "question", "the question");
    pair.server->write_all(bytes_in("ans"), bytes_in("wer"));
    expect(read_text(*pair.client, 6) == "answer", "the answer");
    expect(pair.client->version() == "TLSv1.3" && pair.server->version() == "TLSv1.3", "TLS 1.3");
    expect(!pair.client->cipher().empty() && pair.client->cipher() == pair.server->cipher(), "one cipher");
    expect(pair.client->peer_subject() == "CN=localhost", "the server's subject");
    expect(pair.client->peer_certificate() == certificates().server.certificate, "the server's certificate");
    expect(pair.server->peer_subject().empty() && pair.server->peer_certificate().empty(), "no client's");
    expect(pair.server->server_name() == "localhost", "the name asked for");
    expect(pair.client->alpn().empty() && !pair.client->session_resumed(), "nothing else");
    expect(!pair.client->can_shutdown_write(), "no half-close");
    expect_equal(error_of([&] { pair.client->shutdown_write(); }), ENOTSUP, "errno of a half-close");
    pair.client->close();
    expect(read_once(*pair.server).empty(), "the end");
  });
}

// asyncio: test_ssl TestSSL.test_create_server_ssl_1
// asyncio: test_ssl TestSSL.test_create_connection_ssl_1
TEST_CASE("Many clients send and get much in pieces of all sizes", "[tls]") {
  const std::vector<std::byte> data = test_data(600'000 / kSlowdown, 7);
  on_loops([&] {
    const tls::Context client_side = tls::Context::client(client_options());
    const tls::Context server_side = tls::Context::server(server_options());
    TcpListener listener = TcpListener::bind(loopback());
    const std::uint16_t port = listener.local_address().port();
    constexpr int kClients = 8;
    std::vector<Task<>> tasks;
    tasks.push_back(create_task([&] {
      std::vector<Task<>> servers;
      for (int i = 0; i < kClients; ++i) {
        servers.push_back(create_task([&, tcp = listener.accept()]() mutable {
          const TlsStream stream = tls::accept(make_byte_stream(std::move(tcp)), server_side);
          echo(*stream);
        }));
      }
      for (auto& server : servers) await(server);
    }));
    for (int i = 0; i < kClients; ++i) {
      tasks.push_back(create_task([&, i] {
        const TlsStream stream =
            tls::connect("127.0.0.1", port, client_side, {.server_hostname = "localhost"});
        auto writer = create_task([&] {
          auto rest = std::span<const std::byte>(data);
          for (std::size_t piece = 1; !rest.empty(); piece = piece * 3 + static_cast<std::size_t>(i)) {
            const auto part = rest.first(std::min(piece, rest.size()));
            stream->write_all(part);
            rest = rest.subspan(part.size());
          }
        });
        std::vector<std::byte> back(data.size());
        std::size_t at = 0;
        while (at < back.size()) {
          const std::size_t wanted = std::min<std::size_t>(back.size() - at, 1 + at % 40'000);
          const std::size_t count = stream->read_some(std::span(back).subspan(at, wanted));
          expect(count > 0, "more data");
          at += count;
        }
        await(writer);
        expect(back == data, "what was sent");
        stream->shutdown();
      }));
    }
    for (auto& task : tasks) await(task);
  });
}

TEST_CASE("TLS over a transport that moves one byte at a time loses nothing", "[tls]") {
  const std::vector<std::byte> data = test_data(20'000 / kSlowdown, 3);
  on_loops([&] {
    Ends ends = connect_ends();
    ends.client = std::make_unique<Trickle>(std::move(ends.client), 1);
    ends.server = std::make_unique<Trickle>(std::move(ends.server), 1);
    TlsPair pair = shake(std::move(ends), tls::Context::client(client_options()),
                         tls::Context::server(server_options()));
    auto echoing = create_task([&] { echo(*pair.server); });
    auto writer = create_task([&] { pair.client->write_all(data); });
    const std::string back = read_text(*pair.client, data.size());
    expect(std::memcmp(back.data(), data.data(), data.size()) == 0, "what was sent");
    await(writer);
    pair.client->close();
    await(echoing);
  });
}

TEST_CASE("What others leave in OpenSSL's queue of errors is not taken for an error of ours", "[tls]") {
  const std::vector<std::byte> data = test_data(20'000 / kSlowdown, 4);
  on_loops([&] {
    Ends ends = connect_ends();
    ends.client = std::make_unique<Trickle>(std::move(ends.client), 100, true, true);
    ends.server = std::make_unique<Trickle>(std::move(ends.server), 100, true, true);
    TlsPair pair = shake(std::move(ends), tls::Context::client(client_options()),
                         tls::Context::server(server_options()));
    auto writer = create_task([&] { pair.client->write_all(data); });
    const std::string received = read_text(*pair.server, data.size());
    expect(std::memcmp(received.data(), data.data(), data.size()) == 0, "what was sent");
    await(writer);
    pair.client->close();
    expect(read_once(*pair.server).empty(), "the end");
  });
  ERR_clear_error();
}

TEST_CASE("Over a transport that is always full at first, the sender sends what single writes leave",
          "[tls]") {
  const std::vector<std::byte> data = test_data(300'000 / kSlowdown, 4);
  on_loops([&] {
    Ends ends = connect_ends();
    ends.client = std::make_unique<Trickle>(std::move(ends.client), 1000, false);
    TlsPair pair = shake(std::move(ends), tls::Context::client(client_options()),
                         tls::Context::server(server_options()));
    auto reader = create_task([&] { expect_stream(*pair.server, data); });
    auto rest = std::span<const std::byte>(data);
    // One write leaves all of its bytes to the sender; who waits for the answer gets it.
    rest = rest.subspan(pair.client->write_some(rest.first(100)));
    for (std::size_t piece = 1; !rest.empty(); piece = piece * 2 % 100'003) {
      rest = rest.subspan(pair.client->write_some(rest.first(std::min(piece, rest.size()))));
    }
    pair.client->close();
    await(reader);
  });
}

// asyncio: test_ssl TestSSL.test_create_server_ssl_over_ssl
// asyncio: test_sslproto SslProtoHandshakeTests.test_close_during_ssl_over_ssl
TEST_CASE("TLS runs inside TLS, and ends from the outside in", "[tls]") {
  const std::vector<std::byte> data = test_data(500'000 / kSlowdown, 5);
  on_loops([&] {
    const tls::Context client_side = tls::Context::client(client_options());
    const tls::Context server_side = tls::Context::server(server_options());
    TlsPair outer = shake(connect_ends(), client_side, server_side);
    TlsPair inner = shake({std::move(outer.client), std::move(outer.server)}, client_side, server_side);
    auto echoing = create_task([&] { echo(*inner.server); });
    auto writer = create_task([&] { inner.client->write_all(data); });
    const std::string back = read_text(*inner.client, data.size());
    expect(std::memcmp(back.data(), data.data(), data.size()) == 0, "what was sent");
    await(writer);
    auto stuck = create_task([&] { return read_once(*inner.client); });
    wait_until_waits(stuck, WaitReason::kReadable);
    inner.client->close();
    expect_equal(error_of([&] { await(stuck); }), ECANCELED, "errno of a read");
    await(echoing);
  });
}

// asyncio: test_ssl TestSSL.test_flush_before_shutdown
TEST_CASE("close sends what was written, also when the peer is slow to read it", "[tls]") {
  const std::vector<std::byte> data = test_data(8U << 20, 9);
  on_loops([&] {
    TlsPair pair = tls_pair();
    auto rest = std::span<const std::byte>(data);
    while (const std::size_t count = pair.client->try_write_some(rest)) rest = rest.subspan(count);
    expect(rest.size() < data.size() && !rest.empty(), "a full transport");
    const auto sent = std::span<const std::byte>(data).first(data.size() - rest.size());
    pair.client->close();
    expect(!pair.client->is_open() && pair.client->native_handle() == -1, "a closed stream");
    pair.client.reset();
    expect_stream(*pair.server, sent);
  });
}

// asyncio: test_ssl TestSSL.test_shutdown_cleanly
TEST_CASE("shutdown sends what was written and waits for the peer's word", "[tls]") {
  const std::vector<std::byte> data = test_data(3'000'000 / kSlowdown, 11);
  on_loops([&] {
    TlsPair pair = tls_pair();
    std::atomic<bool> has_ended = false;
    auto reader = create_task([&] {
      expect_stream(*pair.server, data);
      write_text(*pair.server, "late: dropped");
      has_ended = true;
      pair.server->shutdown();
    });
    pair.client->write_all(data);
    pair.client->shutdown();
    expect(has_ended.load() && !pair.client->is_open(), "the peer's word was waited for");
    await(reader);
  });
}

TEST_CASE("shutdown gives up on a silent peer after its timeout", "[tls]") {
  on_loops([] {
    const PairOptions options{.client = {.shutdown_timeout = 20ms}};
    TlsPair pair = shake(connect_ends(), tls::Context::client(client_options()),
                         tls::Context::server(server_options()), options);
    expect_contains(error_text<TimeoutError>([&] {
                      pair.client->shutdown();
                      return 0;
                    }),
                    "0.02 s");
    expect(!pair.client->is_open(), "closed");
  });
}

TEST_CASE("close gives up on a peer that reads nothing after shutdown_timeout", "[tls]") {
  const std::vector<std::byte> data = test_data(8U << 20);
  on_loops([&] {
    const PairOptions options{.client = {.shutdown_timeout = 20ms}};
    TlsPair pair = shake(connect_ends(), tls::Context::client(client_options()),
                         tls::Context::server(server_options()), options);
    auto rest = std::span<const std::byte>(data);
    while (const std::size_t count = pair.client->try_write_some(rest)) rest = rest.subspan(count);
    pair.client.reset();
    wait_until([] { return all_tasks().size() == 1; }, "the sender has given up");
    std::vector<std::byte> buffer(65536);
    const int error = error_of([&] {
      while (pair.server->read_some(buffer) > 0) {
      }
    });
    expect_equal(error, ECONNRESET, "errno of the peer's read");
  });
}

TEST_CASE("A server that closes waits for no client, and a client for a server that goes on sending not long",
          "[tls]") {
  on_loops([] {
    {
      TlsPair pair = tls_pair();
      pair.server->close();  // the client keeps its side open
      expect_equal(all_tasks().size(), 1, "tasks");
      expect(read_once(*pair.client).empty(), "the server's word");
    }
    TlsPair pair = tls_pair();
    auto sending = create_task([&] {
      const std::vector<std::byte> data = test_data(65536);
      return error_of([&] {
        for (;;) pair.server->write_all(data);
      });
    });
    expect(!read_once(*pair.client).empty(), "something of it");
    pair.client->close();
    expect_equal(await(sending), ECONNRESET, "errno of the server's write");
    wait_until([] { return all_tasks().size() == 1; }, "nothing is left of the client");
  });
}

TEST_CASE("end_output sends all that was written and our word, and reading goes on", "[tls]") {
  on_loops([] {
    Ends ends = connect_ends();
    ends.client = std::make_unique<Trickle>(std::move(ends.client), 1000, false);
    TlsPair pair = shake(std::move(ends), tls::Context::client(client_options()),
                         tls::Context::server(server_options()));
    ByteStream& client = *pair.client;
    expect(!client.has_unsent(), "nothing to be sent");
    expect_equal(client.write_some(bytes_in("the last words")), 14, "bytes taken");
    // With more workers the sender may be done by now.
    if (get_running_loop().workers() == 1) expect(client.has_unsent(), "the sender has them");
    client.end_output();
    wait_until([&] { return !client.has_unsent(); }, "the sender is done");
    expect(read_text(*pair.server, 14) == "the last words" && read_once(*pair.server).empty(), "the end");
    write_text(*pair.server, "an answer");
    expect(read_text(client, 9) == "an answer", "the answer");
    expect_throws<tls::Error>([&] { client.write_some(bytes_in("x")); }, "a write after the end");
  });
}

TEST_CASE("An end of the transport without close_notify is TruncatedError, or an end if that is wanted",
          "[tls]") {
  on_loops([] {
    for (const bool is_suppressed : {false, true}) {
      Ends ends = connect_ends();
      ByteStream& raw = *ends.client;
      const PairOptions options{.server = {.suppress_ragged_eofs = is_suppressed}};
      TlsPair pair = shake(std::move(ends), tls::Context::client(client_options()),
                           tls::Context::server(server_options()), options);
      write_text(*pair.client, "some");
      raw.shutdown_write();
      expect(read_text(*pair.server, 4) == "some", "what came before");
      std::vector<std::byte> buffer(16);
      if (is_suppressed) {
        expect_equal(pair.server->read_some(buffer), 0, "bytes at the end");
      } else {
        expect_contains(error_text<tls::TruncatedError>([&] { return pair.server->read_some(buffer); }),
                        "close_notify");
      }
      pair.client->abort();
    }
  });
}

TEST_CASE("A write that is cancelled has either written nothing or says how much", "[tls]") {
  const std::vector<std::byte> data = test_data(16U << 20, 13);
  on_loops([&] {
    TlsPair pair = tls_pair();
    std::atomic<std::size_t> taken = 0;
    // Fills the transport, and then waits.
    auto writer = create_task([&] {
      for (;;) taken += pair.client->write_some(std::span<const std::byte>(data).subspan(taken, 50'000));
    });
    std::size_t before = 1;
    wait_until([&] { return std::exchange(before, taken.load()) == taken && taken > 0; }, "the writer waits");
    writer.cancel();
    writer.wait();
    expect(writer.cancelled(), "cancelled");
    const auto sent = std::span<const std::byte>(data).first(taken);
    auto reader = create_task([&] {
      expect_stream(*pair.server, sent);
      pair.server->close();
    });
    pair.client->shutdown();
    await(reader);
  });
}

TEST_CASE("A read that is cancelled, at any point of a record, loses nothing", "[tls]") {
  on_loops([] {
    Ends ends = connect_ends();
    ends.server = std::make_unique<Trickle>(std::move(ends.server), 7);
    TlsPair pair = shake(std::move(ends), tls::Context::client(client_options()),
                         tls::Context::server(server_options()));
    std::string got;
    for (int i = 0; i < 50; ++i) {
      auto reader = create_task([&] {
        std::string text(3, '\0');
        text.resize(pair.server->read_some(bytes_of(text)));
        got += text;
      });
      if (i % 2 == 0) yield();
      auto writer = create_task([&] { write_text(*pair.client, "a text of 24 characters!"); });
      for (int k = 0; k < i % 5; ++k) yield();
      reader.cancel();
      reader.wait();
      await(writer);
    }
    got += read_text(*pair.server, 50 * 24 - got.size());
    std::string wanted;
    for (int i = 0; i < 50; ++i) wanted += "a text of 24 characters!";
    expect(got == wanted, "everything that was written");
  });
}

// asyncio: test_sslproto SslProtoHandshakeTests.test_data_received_after_closing
// asyncio: test_sslproto SslProtoHandshakeTests.test_write_after_closing
// asyncio: test_sslproto SslProtoHandshakeTests.test_get_extra_info_on_closed_connection
TEST_CASE("A closed stream refuses everything, and still says what it was", "[tls]") {
  on_loops([] {
    TlsPair pair = tls_pair();
    pair.client->close();
    pair.client->close();
    write_text(*pair.server, "late");
    std::vector<std::byte> buffer(16);
    expect_equal(error_of([&] { (void)pair.client->read_some(buffer); }), ECANCELED, "errno of a read");
    expect_equal(error_of([&] { (void)pair.client->write_some(buffer); }), ECANCELED, "errno of a write");
    expect_equal(error_of([&] { (void)pair.client->try_write_some(buffer); }), ECANCELED, "errno of a try");
    expect_equal(error_of([&] { pair.client->write_all(buffer); }), ECANCELED, "errno of a long write");
    expect_equal(error_of([&] { pair.client->shutdown(); }), ECANCELED, "errno of a shutdown");
    expect(pair.client->version() == "TLSv1.3" && pair.client->peer_subject() == "CN=localhost",
           "what it was");
  });
}

// asyncio: test_sslproto SslProtoHandshakeTests.test_connection_lost_when_busy
TEST_CASE("A reset ends reads and writes with its error, once each, and nothing else hears of it", "[tls]") {
  const std::vector<std::byte> data = test_data(8U << 20);
  on_loops([&] {
    TlsPair pair = tls_pair();
    auto reader = create_task([&] { return read_once(*pair.client); });
    auto writer = create_task([&] { pair.client->write_all(data); });
    wait_until_waits(reader, WaitReason::kReadable);
    wait_until_waits(writer, WaitReason::kWritable);
    pair.server->abort();
    // The system names a reset to whichever comes first; to the other one it is an end.
    const std::string at_reader = error_text<std::system_error>([&] { return await(reader); });
    const int error = error_of([&] { await(writer); });
    expect(error == ECONNRESET || error == EPIPE, "the errno of a reset in the write");
    expect(
        at_reader.find("reset") != std::string::npos || at_reader.find("close_notify") != std::string::npos,
        at_reader);
  });
}

TEST_CASE("Both sides write much before they read: nobody waits for ever", "[tls]") {
  const std::vector<std::byte> data = test_data(4U << 20, 17);
  on_loops([&] {
    TlsPair pair = tls_pair();
    std::vector<Task<>> tasks;
    for (tls::Stream* stream : {pair.client.get(), pair.server.get()}) {
      tasks.push_back(create_task([&, stream] { stream->write_all(data); }));
    }
    for (tls::Stream* stream : {pair.client.get(), pair.server.get()}) {
      tasks.push_back(create_task([&, stream] {
        const std::string got = read_text(*stream, data.size());
        expect(std::memcmp(got.data(), data.data(), data.size()) == 0, "what was written");
      }));
    }
    for (auto& task : tasks) await(task);
  });
}
