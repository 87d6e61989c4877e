// asyncio's sock_* calls: for fds that the program made itself and owns. A TcpStream or UdpSocket is faster,
// as it stays registered with epoll; these register the fd for each wait.
//
// All of them try at once and wait only if that would block. Cancel: CancelledError, and the wait is
// withdrawn: the same call, or another one on the same fd, may be made right away. Throws: std::system_error
// naming the call; RuntimeError outside a task; in debug mode std::invalid_argument for an fd that is not
// non-blocking, and always where the call would block the worker (sock_accept, sock_connect, sock_sendfile).
// Threads: several tasks may use one fd, in one direction too. Do not close an fd that is waited on. asyncio:
// the methods of the loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "fibrio/datagrams.hpp"
#include "fibrio/sockets.hpp"

namespace fibrio {

// Returns at most `bytes` bytes; none: the end of the stream.
std::string sock_recv(int fd, std::size_t bytes);
// Reads into `buffer`, returns how many bytes; 0: the end of the stream.
std::size_t sock_recv_into(int fd, std::span<std::byte> buffer);
// Receives a datagram of at most `bytes` bytes (what is longer is cut off) and where it is from.
std::pair<std::string, Address> sock_recvfrom(int fd, std::size_t bytes);
Datagram sock_recvfrom_into(int fd, std::span<std::byte> buffer);
// Sends all of it; cancelled, an unknown part is sent.
void sock_sendall(int fd, std::span<const std::byte> data);
void sock_sendall(int fd, std::string_view text);
// Sends one datagram; returns how many bytes.
std::size_t sock_sendto(int fd, std::span<const std::byte> data, const Address& to);
std::size_t sock_sendto(int fd, std::string_view text, const Address& to);
// Accepts a connection: its fd (non-blocking, close-on-exec), which is the caller's, and who connected.
std::pair<int, Address> sock_accept(int fd);
// Connects; by name: to the first address of the socket's family.
void sock_connect(int fd, const Address& address);
void sock_connect(int fd, const std::string& host, std::uint16_t port);
// Sends a part of a file; see TcpStream::send_file. Throws: std::invalid_argument unless `fd` is a stream
// socket.
std::uint64_t sock_sendfile(int fd, int file, std::uint64_t offset = 0, std::uint64_t count = kToEndOfFile);

}  // namespace fibrio
