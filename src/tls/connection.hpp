// What: a TLS stream's waiting part: moves ciphertext between an Engine and the transport.
// Threads: any; one reader and one writer at a time, as with every stream, and close or abort beside them.
// Protocol.
//  1. write_lock_ is held by whoever sends to the transport, read_lock_ by whoever receives from it, over their
//     waits. A holder of read_lock_ may take write_lock_, never the other way round.
//  2. A record that was begun must go out whole. So a write that was taken counts as written, and what the
//     transport has no room for is sent by the sender, a task of its own, whatever becomes of the writer.
//  3. A reader that finds something to send (the answer to a key update, an alert) tries, and leaves the rest to
//     the sender: two peers whose readers waited for writes could wait for each other. Only a peer that makes us
//     answer kMaxReplies without taking any of it makes the reader wait.
//  4. close leaves the closing to the sender, for shutdown_timeout at most, if there is something left to send, or
//     if a client's peer has not said that it ends: a transport that is closed with input unread (the tickets that
//     a server sends unasked, say) is reset, and what we sent last may be lost. What the peer sends meanwhile is
//     dropped, up to kMaxDropped. A server waits for no client: that would be at its clients' mercy, and nothing
//     comes unasked from them. flags_ decides between close and sender: either the sender sees that it is to
//     close, or close sees that there is none.
// Rejected: writes that wait until all is sent (cancelled in the middle they could neither say that nothing was
//   written nor how much); a task per connection that receives (two switches more per read).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fibrio/byte_stream.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/locks.hpp"
#include "fibrio/tls.hpp"
#include "tls/engine.hpp"

namespace fibrio::tls {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::unique_ptr<ByteStream> transport, const Context& context,
             const std::string& server_hostname, const HandshakeOptions& options,
             std::span<const std::byte> received);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Closes the transport if it fails.
  void handshake();
  [[nodiscard]] std::size_t read_some(std::span<std::byte> buffer);
  [[nodiscard]] std::optional<std::size_t> try_read_some(std::span<std::byte> buffer);
  [[nodiscard]] bool has_buffered_input() const;
  [[nodiscard]] std::size_t write_some(std::span<const std::byte> data);
  [[nodiscard]] std::size_t try_write_some(std::span<const std::byte> data);
  void write_all(std::span<const std::byte> first, std::span<const std::byte> second);
  void shutdown();
  void end_output();
  // Whatever is left unsent has its sender.
  [[nodiscard]] bool has_unsent() const noexcept;
  [[nodiscard]] Duration close_limit() const noexcept { return options_.shutdown_timeout; }
  void close() noexcept;
  void abort() noexcept;

  // acquire: partner of the release in mark_closed.
  [[nodiscard]] bool is_open() const noexcept { return !is_closed_.load(std::memory_order_acquire); }
  [[nodiscard]] const ByteStream& transport() const noexcept { return *transport_; }
  [[nodiscard]] const Engine::Agreement& agreement() const noexcept { return agreement_; }
  [[nodiscard]] CertificateHandle peer_certificate() const { return engine_.peer_certificate(); }

 private:
  void do_handshake();
  // Throws ECANCELED if the stream is closed.
  void check_open(const char* call) const;
  // False: it was closed before.
  [[nodiscard]] bool mark_closed() noexcept;
  // Gets more input; false at the end of the transport.
  [[nodiscard]] bool receive();
  // The same without a wait; nothing: none is there.
  [[nodiscard]] std::optional<bool> try_receive();
  // What a read has at the end of the transport.
  [[nodiscard]] std::size_t end_of_transport() const;
  // Nothing: more input is needed.
  [[nodiscard]] std::optional<std::size_t> try_read(std::span<std::byte> buffer);
  // Until the peer ends, or has sent so much: false.
  [[nodiscard]] bool drop_input(std::size_t most);

  // With write_lock_ held: send everything; send what goes without waiting, true if that was everything.
  void send_all_locked();
  [[nodiscard]] bool try_send_locked();
  // What a reader finds to be sent.
  void send_replies();
  // False: there is no loop here.
  bool start_sender() noexcept;
  bool spawn_sender() noexcept;
  void run_sender();
  // False: there is no sender, or no loop.
  bool leave_closing_to_sender(bool may_start) noexcept;

  const std::unique_ptr<ByteStream> transport_;
  Engine engine_;
  const HandshakeOptions options_;
  const bool is_client_;
  Engine::Agreement agreement_;

  Lock read_lock_;
  bool has_ended_ = false;  // the transport's input; under read_lock_
  Lock write_lock_;
  std::vector<std::byte> sending_;  // under write_lock_
  std::size_t sent_ = 0;            // of sending_

  mutable std::mutex flags_;
  bool has_sender_ = false;    // a task that is to send, or is sending
  bool sender_again_ = false;  // something was left to it while it was sending
  bool sender_closes_ = false;
  TimerHandle close_limit_;  // written before sender_closes_ is seen
  std::atomic<bool> is_closed_{false};
};

}  // namespace fibrio::tls
