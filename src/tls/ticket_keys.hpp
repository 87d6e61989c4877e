// What: the keys of a server's session tickets, replaced every kTicketKeyLife, so that who gets hold of one reads no
//   more than the sessions of two such times. OpenSSL by itself keeps the first one for ever.
// Threads: any.
// Protocol: tickets are made with the current key; the one before it still opens them, for as long again.
#pragma once

#include <openssl/evp.h>
#include <openssl/ssl.h>

#include <array>
#include <chrono>
#include <mutex>
#include <optional>

namespace fibrio::tls {

// A guess: of the order of a session's life, which is two hours.
inline constexpr std::chrono::hours kTicketKeyLife{1};

class TicketKeys {
 public:
  using Clock = std::chrono::steady_clock;
  struct Key {
    std::array<unsigned char, 16> name;
    std::array<unsigned char, 32> cipher;
    std::array<unsigned char, 32> mac;
  };

  TicketKeys() = default;
  TicketKeys(const TicketKeys&) = delete;
  TicketKeys& operator=(const TicketKeys&) = delete;
  ~TicketKeys();

  // Nothing: the system gives no random bytes.
  [[nodiscard]] std::optional<Key> current(Clock::time_point now);
  // Nothing: it is none of ours, or too old.
  [[nodiscard]] std::optional<Key> find(const unsigned char* name, Clock::time_point now);

  // The callback of SSL_CTX_set_tlsext_ticket_key_evp_cb.
  int open_or_seal(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                   bool seals);

 private:
  [[nodiscard]] bool renew_locked(Clock::time_point now);

  std::mutex lock_;
  std::optional<Key> current_;
  std::optional<Key> before_;
  Clock::time_point since_;
};

}  // namespace fibrio::tls
