// What: one side's SSL_CTX with what belongs to it: the names that a server answers to, the sessions that a
//   client may resume.
// Threads: any, once made; OpenSSL locks what an SSL_CTX shares.
// Protocol of names. The context for the name that a client asks for is chosen in the callback of its hello,
//   before OpenSSL looks at any session: each context has a session id context of its own, so a session that was
//   begun under one of them (without a client's certificate, perhaps) is not resumed under another one.
// Rejected: the servername callback, which comes after the session of TLS 1.3 was taken up.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "fibrio/tls.hpp"
#include "tls/openssl.hpp"
#include "tls/session_cache.hpp"
#include "tls/ticket_keys.hpp"

namespace fibrio::tls {

class ContextImpl {
 public:
  explicit ContextImpl(const ClientOptions& options);
  explicit ContextImpl(const ServerOptions& options);
  // A server's context that hands over to others by name.
  ContextImpl(std::shared_ptr<ContextImpl> fallback, const std::map<std::string, Context>& names);

  [[nodiscard]] static const std::shared_ptr<ContextImpl>& of(const Context& context) noexcept {
    return context.impl_;
  }

  [[nodiscard]] SSL_CTX* get() const noexcept { return fallback_ ? fallback_->get() : context_.get(); }
  [[nodiscard]] bool is_server() const noexcept { return is_server_; }
  [[nodiscard]] bool checks_hostname() const noexcept { return checks_hostname_; }
  [[nodiscard]] SessionCache& sessions() noexcept { return sessions_; }

 private:
  template <class Options>
  void set_common(const Options& options);
  void set_own_certificate(const Pem& certificates, const Pem& key, const std::string& password);
  void trust(const Pem& authorities);
  [[nodiscard]] const ContextImpl* find(std::string name) const;
  static int on_client_hello(SSL* ssl, int* alert, void*);
  static int on_alpn(SSL* ssl, const unsigned char** chosen, unsigned char* chosen_length,
                     const unsigned char* offered, unsigned int offered_length, void* self);
  static int on_session(SSL* ssl, SSL_SESSION* session);
  static int on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                       EVP_MAC_CTX* mac, int seals);

  ContextHandle context_;
  std::shared_ptr<ContextImpl> fallback_;  // instead of context_
  bool is_server_;
  bool checks_hostname_ = false;
  bool requires_alpn_ = false;
  std::string alpn_;  // as on the wire: each behind its length
  std::map<std::string, Context> names_;
  SessionCache sessions_;   // of a client
  TicketKeys ticket_keys_;  // of a server
};

// What OpenSSL's callbacks find behind SSL_get_app_data.
struct SslOwner {
  std::shared_ptr<ContextImpl> context;
  std::string peer;  // of a client: the key of the session cache
};

}  // namespace fibrio::tls
