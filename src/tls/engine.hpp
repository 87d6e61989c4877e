// What: the TLS of one connection, without the waiting: plaintext on one side, ciphertext on the other, both in
//   memory.
// Threads: any; the mutex is held for the time of one call, so of at most one flight of the handshake or 64 KiB
//   of encryption, and never over a wait. Input is for one caller at a time (input_room, received, read).
// Protocol.
//  1. OpenSSL writes to output_, which has room for everything: so neither SSL_read nor SSL_do_handshake ever
//     stops in the middle of a message of its own (a key update, an alert), and a read never waits for a write.
//  2. read takes input until it has plaintext; it asks for input only when it has used up what there was.
//  3. After an error, all that is left to do is to send the alert. Each later call throws the same error.
//  4. OpenSSL's errors are read on the thread of the call, before the mutex is given back.
// Rejected: memory BIOs of OpenSSL (their buffers are grown by zeroing and moved down after each read); a BIO
//   that writes to the transport itself (the mutex would be held over a system call for each record of 16 KiB).
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tls/context.hpp"
#include "tls/openssl.hpp"

namespace fibrio::tls {

// The most that is encrypted at once: four records.
inline constexpr std::size_t kMaxPlaintext = 64 * 1024;

class Engine {
 public:
  // `server_hostname` and `port` are of a client's peer. `received` is input that is there already.
  Engine(std::shared_ptr<ContextImpl> context, const std::string& server_hostname, std::uint16_t port,
         std::span<const std::byte> received);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  // True: done. False: it needs input. Throws tls::Error; then there may be an alert to be sent.
  [[nodiscard]] bool handshake();
  // Nothing: it needs input. 0: the peer has said that it ends.
  [[nodiscard]] std::optional<std::size_t> read(std::span<std::byte> buffer);
  // True: all that came was read, and a read could only ask for more.
  [[nodiscard]] bool is_drained() const;
  // Encrypts all of `data`, at most kMaxPlaintext.
  void write(std::span<const std::byte> data);
  // Says that we end, once; nothing after an error, or before the handshake is done.
  void say_end() noexcept;
  [[nodiscard]] bool peer_has_ended() const;

  // Where the next input goes, when read or handshake needs some; and how much came.
  [[nodiscard]] std::span<std::byte> input_room();
  void received(std::size_t bytes);
  // Swaps what is to be sent with `sent`, an empty buffer; false if there is nothing.
  [[nodiscard]] bool take_output(std::vector<std::byte>& sent);
  [[nodiscard]] std::size_t output_size() const;
  // Gives the memory of an empty output back.
  void release_output();

  // The error of an end of the input in the middle.
  [[nodiscard]] TruncatedError truncated() const;

  struct Agreement {
    std::string version, cipher, alpn, server_name;
    bool resumed = false;
  };
  [[nodiscard]] Agreement agreement() const;
  [[nodiscard]] CertificateHandle peer_certificate() const;

 private:
  static const BIO_METHOD* bio_method();
  static int on_bio_read(BIO* bio, char* data, int size);
  static int on_bio_write(BIO* bio, const char* data, int size);
  static long on_bio_control(BIO* bio, int command, long, void*);
  void set_peer(const std::string& server_hostname, std::uint16_t port);
  // Throws what a failed call has left in OpenSSL's queue.
  [[noreturn]] void fail(int result, const char* call);

  mutable std::mutex lock_;
  SslOwner owner_;
  SslHandle ssl_;
  std::string name_;  // of the peer, for texts
  std::exception_ptr failure_;
  bool is_done_ = false;  // the handshake
  bool said_end_ = false;

  std::unique_ptr<std::byte[]> input_;
  std::size_t capacity_ = 0;
  std::size_t wanted_capacity_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::vector<std::byte> output_;
  bool out_of_memory_ = false;
};

}  // namespace fibrio::tls
