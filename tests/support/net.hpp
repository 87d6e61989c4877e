// What: pairs of streams, raw peers that misbehave, data that can be checked.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fibrio/sockets.hpp"
#include "support/net_loops.hpp"

namespace fibrio::net_test {

using namespace std::chrono_literals;

inline Address loopback() { return Address::parse("127.0.0.1", 0); }

// The same for this process alone: no other test program has a socket there, and no client gets it as its own address.
// For tests that expect a port to be free again.
inline Address lone_loopback() {
  const auto id = static_cast<std::uint32_t>(::getpid());  // below 2^22
  const auto part = [id](unsigned shift) { return std::to_string((id >> shift) & 0xffU); };
  return Address::parse("127." + std::to_string(64 + (id >> 16)) + "." + part(8) + "." + part(0), 0);
}

struct StreamPair {
  TcpStream client;
  TcpStream server;
};

// Two ends of one connection over loopback.
inline StreamPair connect_pair(TcpListener& listener) {
  TcpStream client = TcpStream::connect(listener.local_address());
  return {std::move(client), listener.accept()};
}
inline StreamPair connect_pair() {
  TcpListener listener = TcpListener::bind(loopback());
  return connect_pair(listener);
}

struct Ends {
  std::unique_ptr<ByteStream> client;
  std::unique_ptr<ByteStream> server;
};
inline Ends connect_ends() {
  StreamPair pair = connect_pair();
  return {make_byte_stream(std::move(pair.client)), make_byte_stream(std::move(pair.server))};
}

// A plain blocking socket that knows nothing of fibrio; closes itself.
class RawPeer {
 public:
  explicit RawPeer(int fd) : fd_(fd) { expect(fd >= 0, "a raw socket"); }
  RawPeer(RawPeer&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RawPeer& operator=(RawPeer&&) = delete;
  ~RawPeer() { close(); }
  static RawPeer connect(const Address& address) {
    RawPeer peer(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    expect(::connect(peer.fd_, address.data(), address.size()) == 0, "a raw connect");
    return peer;
  }
  [[nodiscard]] int fd() const { return fd_; }
  void send(std::string_view text, int flags = 0) const {
    expect(::send(fd_, text.data(), text.size(), flags | MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()),
           "a raw send");
  }
  // What is there now, at most `bytes`.
  [[nodiscard]] std::string receive_now(std::size_t bytes = 65536) const {
    std::string text(bytes, '\0');
    const ssize_t count = ::recv(fd_, text.data(), bytes, MSG_DONTWAIT);
    text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    return text;
  }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

// A port that is taken, and refuses whoever connects: a socket that is bound and does not listen. One that was let go
// could be somebody else's by now, or the client's own.
class ClosedPort {
 public:
  explicit ClosedPort(const Address& address = loopback())
      : holder_(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    expect(::bind(holder_.fd(), address.data(), address.size()) == 0, "a raw bind");
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    expect(::getsockname(holder_.fd(), reinterpret_cast<sockaddr*>(&storage), &length) == 0, "its address");
    address_ = Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
  }
  [[nodiscard]] const Address& address() const { return address_; }
  [[nodiscard]] std::uint16_t port() const { return address_.port(); }

 private:
  RawPeer holder_;
  Address address_;
};

struct RawPair {
  RawPeer peer;
  TcpStream stream;
};
inline RawPair connect_raw() {
  TcpListener listener = TcpListener::bind(loopback());
  RawPeer peer = RawPeer::connect(listener.local_address());
  return {std::move(peer), listener.accept()};
}

// Bytes of which every 8 differ from all others.
inline std::vector<std::byte> test_data(std::size_t bytes, std::uint64_t seed = 1) {
  std::vector<std::byte> data(bytes);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
  for (std::size_t i = 0; i < bytes; i += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(&data[i], &state, std::min(sizeof state, bytes - i));
  }
  return data;
}
inline std::span<std::byte> bytes_of(std::string& text) { return std::as_writable_bytes(std::span(text)); }
inline std::span<const std::byte> bytes_in(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// --- streams of any type -----------------------------------------------------------------------------------

// Reads exactly so many bytes, fewer only at the end of the stream.
template <class Stream>
std::string read_text(Stream& stream, std::size_t bytes) {
  std::string text(bytes, '\0');
  std::size_t filled = 0;
  while (filled < bytes) {
    const std::size_t count = stream.read_some(bytes_of(text).subspan(filled));
    if (count == 0) break;
    filled += count;
  }
  text.resize(filled);
  return text;
}
// One read with a large buffer: always a short one.
template <class Stream>
std::string read_once(Stream& stream, std::size_t bytes = 65536) {
  std::string text(bytes, '\0');
  text.resize(stream.read_some(bytes_of(text)));
  return text;
}

// Reads until the end of the stream and compares with `wanted`.
template <class Stream>
void expect_stream(Stream& stream, std::span<const std::byte> wanted, std::size_t chunk = 65536) {
  std::vector<std::byte> buffer(chunk);
  std::size_t at = 0;
  while (const std::size_t count = stream.read_some(buffer)) {
    expect(count <= wanted.size() - at, "no more bytes than were sent");
    expect(std::memcmp(buffer.data(), wanted.data() + at, count) == 0, "the bytes that were sent");
    at += count;
  }
  expect_equal(at, wanted.size(), "bytes received");
}

// Reads to the end and writes everything back.
template <class Stream>
void echo(Stream& stream) {
  std::vector<std::byte> buffer(16384);
  while (const std::size_t count = stream.read_some(buffer)) {
    stream.write_all(std::span<const std::byte>(buffer).first(count));
  }
}
inline void write_text(ByteStream& stream, std::string_view text) { stream.write_all(bytes_in(text)); }

}  // namespace fibrio::net_test
