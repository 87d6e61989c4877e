#include "tls/context.hpp"

#include <openssl/pem.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <stdexcept>
#include <utility>

namespace fibrio::tls {
namespace {

// Authenticated encryption and forward secrecy alone, at a price that a stranger may ask for: no DHE, whose large
// groups cost a worker a quarter of a second per handshake.
constexpr const char* kCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr const char* kGroups = "X25519:P-256:P-384";

// Names are compared without regard to case (RFC 6066), and only ASCII is allowed in them.
std::string lower(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return name;
}

std::string described(const Pem& pem, const std::string& what) {
  return pem.path().empty() ? what : what + " in " + pem.path();
}

BioHandle open_pem(const Pem& pem, const std::string& what, std::string& storage) {
  if (!pem.path().empty()) {
    const std::unique_ptr<std::FILE, Deleter<&std::fclose>> file(std::fopen(pem.path().c_str(), "rbe"));
    char part[4096];
    std::size_t count = 1;
    while (file != nullptr && count > 0) {
      count = std::fread(part, 1, sizeof part, file.get());
      storage.append(part, count);
    }
    const int error = errno;
    if (file == nullptr || std::ferror(file.get()) != 0) {
      throw std::system_error(error, std::generic_category(), described(pem, what));
    }
  } else {
    storage = pem.text();
  }
  if (storage.size() > INT_MAX) throw std::invalid_argument(described(pem, what) + ": over 2 GiB");
  clear_errors();
  BioHandle bio(BIO_new_mem_buf(storage.data(), static_cast<int>(storage.size())));
  if (bio == nullptr) throw std::bad_alloc();
  return bio;
}

// Calls `each` with every certificate of `pem`, at least one.
template <class Each>
void for_certificates(const Pem& pem, const std::string& what, Each each) {
  std::string storage;
  const BioHandle bio = open_pem(pem, what, storage);
  for (bool is_first = true;; is_first = false) {
    const CertificateHandle certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (certificate == nullptr) {
      const unsigned long error = ERR_peek_last_error();
      const bool is_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
      if (is_first || !is_end) throw take_error(described(pem, what));
      clear_errors();
      return;
    }
    each(*certificate, is_first);
  }
}

// Never asks at the terminal, as OpenSSL would by itself.
int give_password(char* buffer, int size, int, void* password) {
  const auto& text = *static_cast<const std::string*>(password);
  if (text.empty() || text.size() > static_cast<std::size_t>(size)) return -1;
  std::copy(text.begin(), text.end(), buffer);
  return static_cast<int>(text.size());
}

int number_of(Version version) { return version == Version::kTls12 ? TLS1_2_VERSION : TLS1_3_VERSION; }

void require(long done, const std::string& what) {
  if (done != 1) throw take_error(what);
}

std::string alpn_on_the_wire(const std::vector<std::string>& protocols) {
  std::string wire;
  for (const std::string& protocol : protocols) {
    if (protocol.empty() || protocol.size() > UCHAR_MAX) {
      throw std::invalid_argument("alpn: a protocol's name has 1 to 255 bytes, not " +
                                  std::to_string(protocol.size()));
    }
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  return wire;
}

}  // namespace

template <class Options>
void ContextImpl::set_common(const Options& options) {
  clear_errors();
  SSL_CTX* const context = context_.get();
  if (context == nullptr) throw take_error("SSL_CTX_new");
  if (options.min_version > options.max_version)
    throw std::invalid_argument("min_version is above max_version");
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // Buffers of 16 KiB each way are given back while a connection is idle.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  require(SSL_CTX_set_min_proto_version(context, number_of(options.min_version)), "min_version");
  require(SSL_CTX_set_max_proto_version(context, number_of(options.max_version)), "max_version");
  const char* const ciphers = options.ciphers.empty() ? kCiphers : options.ciphers.c_str();
  require(SSL_CTX_set_cipher_list(context, ciphers), "ciphers");
  if (!options.cipher_suites.empty()) {
    require(SSL_CTX_set_ciphersuites(context, options.cipher_suites.c_str()), "cipher_suites");
  }
  const char* const groups = options.groups.empty() ? kGroups : options.groups.c_str();
  require(SSL_CTX_set1_groups_list(context, groups), "groups");
  // As ssl.create_default_context: whoever is in the list of authorities is trusted, the root or not.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context),
                              X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_X509_STRICT);
  alpn_ = alpn_on_the_wire(options.alpn);
  if (!options.certificates.empty())
    set_own_certificate(options.certificates, options.key, options.key_password);
}

ContextImpl::ContextImpl(const ClientOptions& options)
    : context_(SSL_CTX_new(TLS_client_method())),
      is_server_(false),
      checks_hostname_(options.verify && options.check_hostname),
      sessions_(options.kept_sessions) {
  set_common(options);
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_verify(context, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (options.verify && (options.authorities.empty() || options.system_too)) {
    require(SSL_CTX_set_default_verify_paths(context), "the system's authorities");
  }
  if (!options.authorities.empty()) trust(options.authorities);
  if (!alpn_.empty() && SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(alpn_.data()),
                                                static_cast<unsigned int>(alpn_.size())) != 0) {
    throw take_error("alpn");  // 0 is success here
  }
  if (options.kept_sessions > 0) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, &on_session);
  }
}

ContextImpl::ContextImpl(const ServerOptions& options)
    : context_(SSL_CTX_new(TLS_server_method())),
      is_server_(true),
      requires_alpn_(options.require_alpn),
      sessions_(0) {
  if (options.certificates.empty()) throw std::invalid_argument("a TLS server needs certificates");
  set_common(options);
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  if (options.client_certificates != ClientCertificate::kNone) {
    if (options.authorities.empty()) {
      throw std::invalid_argument("client_certificates: whom to believe must be said by `authorities`");
    }
    trust(options.authorities);
    const bool is_required = options.client_certificates == ClientCertificate::kRequired;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (is_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       nullptr);
  }
  // Sessions are kept by the clients, in tickets.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  if (!options.tickets) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    require(SSL_CTX_set_num_tickets(context, 0), "tickets");
  }
  SSL_CTX_set_tlsext_ticket_key_evp_cb(context, &on_ticket);
  unsigned char id[SSL_MAX_SID_CTX_LENGTH];
  require(RAND_bytes(id, sizeof id), "random bytes");
  require(SSL_CTX_set_session_id_context(context, id, sizeof id), "the session id context");
  SSL_CTX_set_client_hello_cb(context, &on_client_hello, nullptr);
  SSL_CTX_set_alpn_select_cb(context, &on_alpn, this);
}

ContextImpl::ContextImpl(std::shared_ptr<ContextImpl> fallback, const std::map<std::string, Context>& names)
    : fallback_(std::move(fallback)), is_server_(true), sessions_(0) {
  bool are_servers = fallback_->is_server();
  for (const auto& [name, context] : names) {
    are_servers = are_servers && context.is_server();
    names_.emplace(lower(name), context);
  }
  if (!are_servers)
    throw std::invalid_argument("contexts by name are for servers, and one of them is a client's");
}

void ContextImpl::set_own_certificate(const Pem& certificates, const Pem& key, const std::string& password) {
  SSL_CTX* const context = context_.get();
  for_certificates(certificates, "certificates", [&](X509& certificate, bool is_first) {
    const long done = is_first ? SSL_CTX_use_certificate(context, &certificate)
                               : SSL_CTX_add1_chain_cert(context, &certificate);
    require(done, described(certificates, "certificates"));
  });
  const Pem& source = key.empty() ? certificates : key;
  std::string storage;
  const BioHandle bio = open_pem(source, "key", storage);
  const KeyHandle own(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, &give_password, const_cast<std::string*>(&password)));
  if (own == nullptr) throw take_error(described(source, "key"));
  require(SSL_CTX_use_PrivateKey(context, own.get()), described(source, "key"));
}

void ContextImpl::trust(const Pem& authorities) {
  SSL_CTX* const context = context_.get();
  for_certificates(authorities, "authorities", [&](X509& certificate, bool) {
    require(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), &certificate),
            described(authorities, "authorities"));
    if (is_server_)
      require(SSL_CTX_add_client_CA(context, &certificate), described(authorities, "authorities"));
  });
}

const ContextImpl* ContextImpl::find(std::string name) const {
  name = lower(std::move(name));
  auto found = names_.find(name);
  if (const std::size_t dot = name.find('.'); found == names_.end() && dot != std::string::npos && dot > 0) {
    found = names_.find("*" + name.substr(dot));
  }
  return found == names_.end() ? nullptr : of(found->second).get();
}

namespace {

// The name of the extension's first entry (RFC 6066): a list with its length, a type, a name with its length.
std::string name_of_hello(SSL* ssl) {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) != 1 || size < 5) return {};
  const std::size_t list = static_cast<std::size_t>(data[0]) << 8 | data[1];
  const std::size_t name = static_cast<std::size_t>(data[3]) << 8 | data[4];
  if (list != size - 2 || data[2] != TLSEXT_NAMETYPE_host_name || name > size - 5) return {};
  return {reinterpret_cast<const char*>(data + 5), name};
}

}  // namespace

int ContextImpl::on_client_hello(SSL* ssl, int* alert, void*) {
  try {
    const auto& owner = *static_cast<const SslOwner*>(SSL_get_app_data(ssl));
    if (owner.context->names_.empty()) return SSL_CLIENT_HELLO_SUCCESS;
    const ContextImpl* const chosen = owner.context->find(name_of_hello(ssl));
    if (chosen == nullptr) return SSL_CLIENT_HELLO_SUCCESS;
    SSL_CTX* const context = chosen->get();
    if (SSL_set_SSL_CTX(ssl, context) == nullptr) {
      *alert = SSL_AD_INTERNAL_ERROR;
      return SSL_CLIENT_HELLO_ERROR;
    }
    // What SSL_set_SSL_CTX leaves as it was.
    SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), nullptr);
    SSL_clear_options(ssl, SSL_get_options(ssl) & ~SSL_CTX_get_options(context));
    SSL_set_options(ssl, SSL_CTX_get_options(context));
    SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(context));
    SSL_set_min_proto_version(ssl, static_cast<int>(SSL_CTX_get_min_proto_version(context)));
    SSL_set_max_proto_version(ssl, static_cast<int>(SSL_CTX_get_max_proto_version(context)));
    return SSL_CLIENT_HELLO_SUCCESS;
  } catch (...) {  // out of memory; no exception may go through OpenSSL
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
  }
}

int ContextImpl::on_alpn(SSL*, const unsigned char** chosen, unsigned char* chosen_length,
                         const unsigned char* offered, unsigned int offered_length, void* self) {
  const auto& context = *static_cast<const ContextImpl*>(self);
  if (context.alpn_.empty()) return SSL_TLSEXT_ERR_NOACK;
  const auto* ours = reinterpret_cast<const unsigned char*>(context.alpn_.data());
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, chosen_length, ours, static_cast<unsigned int>(context.alpn_.size()),
                            offered, offered_length) == OPENSSL_NPN_NEGOTIATED) {
    *chosen = selected;
    return SSL_TLSEXT_ERR_OK;
  }
  return context.requires_alpn_ ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
}

int ContextImpl::on_session(SSL* ssl, SSL_SESSION* session) {
  SessionHandle owned(session);
  try {
    const auto& owner = *static_cast<const SslOwner*>(SSL_get_app_data(ssl));
    if (!owner.peer.empty()) owner.context->sessions().keep(owner.peer, std::move(owned));
  } catch (...) {  // out of memory: the next handshake is a full one
  }
  return 1;  // the reference is ours, and gone or kept
}

int ContextImpl::on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                           EVP_MAC_CTX* mac, int seals) {
  // Those of the context that the connection began with, whatever name it then asked for.
  ContextImpl* context = static_cast<const SslOwner*>(SSL_get_app_data(ssl))->context.get();
  while (context->fallback_ != nullptr) context = context->fallback_.get();
  return context->ticket_keys_.open_or_seal(ssl, name, iv, cipher, mac, seals != 0);
}

// --- Context -----------------------------------------------------------------------------------------------

Context Context::client(const ClientOptions& options) {
  return Context(std::make_shared<ContextImpl>(options));
}
Context Context::server(const ServerOptions& options) {
  return Context(std::make_shared<ContextImpl>(options));
}
Context Context::by_name(const Context& fallback, const std::map<std::string, Context>& names) {
  return Context(std::make_shared<ContextImpl>(fallback.impl_, names));
}
bool Context::is_server() const noexcept { return impl_->is_server(); }

}  // namespace fibrio::tls
