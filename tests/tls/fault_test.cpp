#include <openssl/ssl.h>

#include <set>

#include "support/faults.hpp"
#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;
using fibrio::test::Fault;
using fibrio::test::kAlways;
using fibrio::test::ScopedSyscalls;

namespace {

// A handshake, an echo and a shutdown; the errors of both sides.
struct Talk {
  std::multiset<int> errors;
  bool echoed = false;
};
Talk converse(const tls::Context& client, const tls::Context& server) {
  Talk talk;
  Ends ends = connect_ends();
  const std::vector<std::byte> data = test_data(40'000);
  auto serving = create_task([&] {
    return error_of([&] {
      const TlsStream stream = tls::accept(std::move(ends.server), server);
      echo(*stream);
      stream->shutdown();
    });
  });
  const int error = error_of([&] {
    const TlsStream stream = tls::handshake(std::move(ends.client), client, "localhost");
    auto writer = create_task([&] {
      const int failed = error_of([&] { stream->write_all(data); });
      if (failed != 0) stream->abort();  // with a real error the reader would hear of it too
      return failed;
    });
    try {
      const std::string back = read_text(*stream, data.size());
      talk.echoed = back.size() == data.size() && std::memcmp(back.data(), data.data(), data.size()) == 0;
    } catch (const std::system_error&) {
      stream->abort();
      (void)await(writer);
      throw;
    }
    const int at_writer = await(writer);
    if (at_writer != 0) talk.errors.insert(at_writer);
    stream->shutdown();
  });
  for (const int found : {error, await(serving)}) {
    if (found != 0) talk.errors.insert(found);
  }
  return talk;
}

// Lets the k-th use of a call fail, for all k that a conversation has.
template <class Faulty>
void sweep(Faulty& fault, int error, bool is_harmless) {
  const tls::Context client = tls::Context::client(client_options());
  const tls::Context server = tls::Context::server(server_options());
  for (const LoopShape shape : {LoopShape{1, false}, LoopShape{4, true}}) {
    on_loop(shape, [&] {
      int hits = 0;
      for (int k = 1; k <= 12; ++k) {
        fault.arm(-error, {.first = k});
        const Talk talk = converse(client, server);
        hits += fault.hits();
        if (fault.hits() == 0 || is_harmless) {
          expect(talk.echoed && talk.errors.empty(), "nothing happens in use " + std::to_string(k));
        } else {
          // It may have been the last word of a side, which nobody misses.
          for (const int found : talk.errors) {
            const bool is_reset = found == ECONNRESET || found == EPIPE || found == ECANCELED;
            const bool is_cut = found > 1000;  // TruncatedError: OpenSSL's codes
            expect(found == error || is_reset || is_cut, "errno " + std::to_string(found));
          }
        }
        fault.disarm();
      }
      expect(hits > 5, "the fault was met");
      expect(converse(client, server).echoed, "the loop goes on");
    });
  }
}

}  // namespace

TEST_CASE("TLS over recv and send that fail: the errors come through, and interrupted calls are repeated",
          "[tls][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::recv> recv;
  sweep(recv, EINTR, true);
  sweep(recv, ECONNRESET, false);
  sweep(recv, ENOMEM, false);
  Fault<&sys::Syscalls::send> send;
  sweep(send, EINTR, true);
  sweep(send, ECONNRESET, false);
  sweep(send, ENOBUFS, false);
}

namespace {

// A blocking client of OpenSSL itself, for what ours does not do.
class RawClient {
 public:
  explicit RawClient(int fd) : fd_(fd), context_(SSL_CTX_new(TLS_client_method())), ssl_(SSL_new(context_)) {
    ::fcntl(fd, F_SETFL, 0);
    SSL_set_fd(ssl_, fd);
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    ::close(fd_);
  }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] SSL* get() const { return ssl_; }
  // Asks for a key update so many times, each with a byte of data.
  [[nodiscard]] bool ask(int times) const {
    for (int i = 0; i < times; ++i) {
      if (SSL_key_update(ssl_, SSL_KEY_UPDATE_REQUESTED) != 1 || SSL_write(ssl_, "u", 1) != 1) return false;
    }
    return true;
  }
  [[nodiscard]] std::size_t read(std::size_t bytes) const {
    std::vector<char> buffer(65536);
    std::size_t at = 0;
    while (at < bytes) {
      const int count = SSL_read(ssl_, buffer.data(), static_cast<int>(std::min(buffer.size(), bytes - at)));
      if (count <= 0) break;
      at += static_cast<std::size_t>(count);
    }
    return at;
  }

 private:
  int fd_;
  SSL_CTX* context_;
  SSL* ssl_;
};

}  // namespace

TEST_CASE("Key updates are answered, and no reader waits for a writer because of them", "[tls]") {
  const tls::Context server = tls::Context::server(server_options());
  const std::vector<std::byte> data = test_data(8U << 20);
  for (const LoopShape shape : {LoopShape{1, false}, LoopShape{4, true}}) {
    on_loop(shape, [&] {
      StreamPair pair = connect_pair();
      const RawClient client(pair.client.release());
      auto connecting =
          get_running_loop().run_in_executor(nullptr, [&] { return SSL_connect(client.get()); });
      const TlsStream stream = tls::accept(make_byte_stream(std::move(pair.server)), server);
      expect_equal(await(connecting), 1, "result of SSL_connect");
      // The peer reads nothing, so the transport is full; what it sends is read all the same.
      auto rest = std::span<const std::byte>(data);
      while (const std::size_t count = stream->try_write_some(rest)) rest = rest.subspan(count);
      constexpr std::size_t kUpdates = 100;
      auto asking = get_running_loop().run_in_executor(nullptr, [&] { return client.ask(kUpdates); });
      expect_equal(read_text(*stream, kUpdates).size(), kUpdates, "bytes read");
      expect(await(asking), "all updates were sent");
      auto reading = get_running_loop().run_in_executor(nullptr, [&] { return client.read(data.size()); });
      stream->write_all(rest);
      expect_equal(await(reading), data.size(), "bytes that the peer got");
      stream->close();
    });
  }
}

TEST_CASE("A peer that asks for key updates without end and reads nothing is waited for, not stored for",
          "[tls]") {
  const tls::Context server = tls::Context::server(server_options());
  for (const LoopShape shape : {LoopShape{1, false}, LoopShape{4, true}}) {
    on_loop(shape, [&] {
      StreamPair pair = connect_pair();
      pair.server.set_option(SOL_SOCKET, SO_SNDBUF, 4096);
      pair.client.set_option(SOL_SOCKET, SO_RCVBUF,
                             32768);  // or the kernel would take all the answers for it
      const RawClient client(pair.client.release());
      auto connecting =
          get_running_loop().run_in_executor(nullptr, [&] { return SSL_connect(client.get()); });
      const TlsStream stream = tls::accept(make_byte_stream(std::move(pair.server)), server);
      expect_equal(await(connecting), 1, "result of SSL_connect");
      // Answers of 27 bytes each: more than the reader piles up.
      constexpr int kUpdates = 40'000;
      auto asking = get_running_loop().run_in_executor(nullptr, [&] { return client.ask(kUpdates); });
      std::atomic<std::size_t> got = 0;
      auto reader = create_task([&] {
        while (got < kUpdates) got += read_once(*stream).size();
      });
      std::size_t before = 1;
      wait_until(
          [&] {
            const std::size_t now = got;
            const bool rests = now > 1000 && now == before;
            before = now;
            if (!rests) sleep(20ms);
            return rests;
          },
          "the reader waits");
      expect(got < kUpdates, "before it has everything: " + std::to_string(got.load()));
      // The peer takes the answers off its socket, as they are: its SSL is busy asking.
      std::atomic<bool> is_over = false;
      auto taking = get_running_loop().run_in_executor(nullptr, [&] {
        std::vector<char> buffer(65536);
        while (!is_over) {
          pollfd entry{client.fd(), POLLIN, 0};
          if (::poll(&entry, 1, 10) > 0) (void)::recv(client.fd(), buffer.data(), buffer.size(), 0);
        }
      });
      await(reader);
      is_over = true;
      await(taking);
      expect(await(asking), "all updates were sent");
      stream->abort();
    });
  }
}
