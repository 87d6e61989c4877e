#include "tls/ticket_keys.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>

namespace fibrio::tls {

TicketKeys::~TicketKeys() {
  for (std::optional<Key>* key : {&current_, &before_}) {
    if (key->has_value()) OPENSSL_cleanse(&**key, sizeof(Key));
  }
}

bool TicketKeys::renew_locked(Clock::time_point now) {
  if (current_.has_value() && now - since_ < kTicketKeyLife) return true;
  Key fresh{};
  if (RAND_bytes(fresh.name.data(), fresh.name.size()) != 1 ||
      RAND_priv_bytes(fresh.cipher.data(), fresh.cipher.size()) != 1 ||
      RAND_priv_bytes(fresh.mac.data(), fresh.mac.size()) != 1) {
    return false;
  }
  before_ = current_;
  if (now - since_ >= 2 * kTicketKeyLife) before_.reset();
  current_ = fresh;
  since_ = now;
  return true;
}

std::optional<TicketKeys::Key> TicketKeys::current(Clock::time_point now) {
  const std::lock_guard guard(lock_);
  if (!renew_locked(now)) return std::nullopt;
  return current_;
}

std::optional<TicketKeys::Key> TicketKeys::find(const unsigned char* name, Clock::time_point now) {
  const std::lock_guard guard(lock_);
  if (!renew_locked(now)) return std::nullopt;
  for (const std::optional<Key>& key : {current_, before_}) {
    if (key.has_value() && std::equal(key->name.begin(), key->name.end(), name)) return key;
  }
  return std::nullopt;
}

int TicketKeys::open_or_seal(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                             EVP_MAC_CTX* mac, bool seals) {
  constexpr int kFailed = -1;
  constexpr int kNoTicket = 0;  // the handshake is a full one
  constexpr int kDone = 1;
  constexpr int kDoneSendAnother = 2;
  const Clock::time_point now = Clock::now();
  std::optional<Key> key = seals ? current(now) : find(name, now);
  if (!key.has_value()) return kNoTicket;
  if (seals) {
    std::copy(key->name.begin(), key->name.end(), name);
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return kFailed;
  }
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac.data(), key->mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, const_cast<char*>("SHA256"), 0),
      OSSL_PARAM_construct_end()};
  const bool done =
      EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->cipher.data(), iv, seals ? 1 : 0) == 1 &&
      EVP_MAC_CTX_set_params(mac, parameters) == 1;
  const bool is_current = seals || current(now)->name == key->name;
  OPENSSL_cleanse(&*key, sizeof(Key));
  if (!done) return kFailed;
  // A ticket of TLS 1.3 is for one use: its user gets another one.
  return !seals && (!is_current || SSL_version(ssl) >= TLS1_3_VERSION) ? kDoneSendAnother : kDone;
}

}  // namespace fibrio::tls
