#include "tls/engine.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace fibrio::tls {
namespace {

// An idle connection keeps a small buffer; one that fills it gets a large one, of two records.
constexpr std::size_t kSmallInput = 4 * 1024;
constexpr std::size_t kLargeInput = 33 * 1024;
// What a record has beside its plaintext: header, nonce or type, tag. An upper bound.
constexpr std::size_t kRecordOverhead = 64;

int code_of(int reason) { return static_cast<int>(ERR_PACK(ERR_LIB_SSL, 0, reason)); }

std::string checked_name(std::string name) {
  if (!name.empty() && name.back() == '.') name.pop_back();  // the root's dot is in no certificate
  const bool is_plain = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 127; });
  // OpenSSL takes ".example.org" for all names under it.
  if (!is_plain || name.empty() || name.front() == '.' || name.size() > TLSEXT_MAXLEN_host_name) {
    throw std::invalid_argument(
        "server_hostname is no name of a host (other alphabets need their ASCII form, xn--...)");
  }
  return name;
}

bool is_ip_address(const std::string& name) {
  ASN1_OCTET_STRING* const address = a2i_IPADDRESS(name.c_str());
  ASN1_OCTET_STRING_free(address);
  clear_errors();
  return address != nullptr;
}

}  // namespace

Engine::Engine(std::shared_ptr<ContextImpl> context, const std::string& server_hostname, std::uint16_t port,
               std::span<const std::byte> received)
    : owner_{std::move(context), {}}, wanted_capacity_(kSmallInput) {
  clear_errors();
  ssl_.reset(SSL_new(owner_.context->get()));
  BIO* const bio = ssl_ == nullptr ? nullptr : BIO_new(bio_method());
  if (bio == nullptr) throw take_error("SSL_new");
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), &owner_);
  if (owner_.context->is_server()) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
    set_peer(server_hostname, port);
  }
  if (!received.empty()) {
    input_ = std::make_unique_for_overwrite<std::byte[]>(received.size());
    capacity_ = end_ = received.size();
    std::memcpy(input_.get(), received.data(), received.size());
  }
}

Engine::~Engine() = default;

void Engine::set_peer(const std::string& server_hostname, std::uint16_t port) {
  ContextImpl& context = *owner_.context;
  if (server_hostname.empty()) {
    if (!context.checks_hostname()) return;
    throw std::invalid_argument("checking the name in the peer's certificate needs a server_hostname");
  }
  name_ = server_hostname.substr(0, server_hostname.find('%'));  // an IPv6 address without its scope
  SSL* const ssl = ssl_.get();
  X509_VERIFY_PARAM* const verification = SSL_get0_param(ssl);
  bool done = true;
  if (is_ip_address(name_)) {
    if (context.checks_hostname()) done = X509_VERIFY_PARAM_set1_ip_asc(verification, name_.c_str()) == 1;
  } else {
    name_ = checked_name(server_hostname);
    done = SSL_set_tlsext_host_name(ssl, name_.c_str()) == 1;
    if (done && context.checks_hostname()) {
      // By the alternative names alone: without any, OpenSSL would take the subject's CN (RFC 9525, 2).
      X509_VERIFY_PARAM_set_hostflags(
          verification, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
      done = X509_VERIFY_PARAM_set1_host(verification, name_.c_str(), name_.size()) == 1;
    }
  }
  if (!done) throw take_error("server_hostname " + name_);
  if (context.sessions().capacity() == 0) return;
  owner_.peer = name_ + ' ' + std::to_string(port);
  // A session that OpenSSL will not have only makes the handshake a full one.
  if (const SessionHandle session = context.sessions().take(owner_.peer)) SSL_set_session(ssl, session.get());
  clear_errors();
}

// --- plaintext ---------------------------------------------------------------------------------------------

void Engine::fail(int result, const char* call) {
  const int kind = SSL_get_error(ssl_.get(), result);
  const std::string what = std::string("TLS ") + call + (name_.empty() ? "" : " with " + name_);
  if (std::exchange(out_of_memory_, false)) {
    failure_ = std::make_exception_ptr(std::bad_alloc());
  } else if (kind == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    clear_errors();
    const long verified = SSL_get_verify_result(ssl_.get());
    failure_ = std::make_exception_ptr(
        VerificationError(code_of(SSL_R_CERTIFICATE_VERIFY_FAILED), static_cast<int>(verified),
                          what + ": " + X509_verify_cert_error_string(verified)));
  } else {
    failure_ = std::make_exception_ptr(take_error(what));
  }
  std::rethrow_exception(failure_);
}

bool Engine::handshake() {
  const std::lock_guard guard(lock_);
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  clear_errors();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return is_done_ = true;
  if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ) return false;
  fail(result, "handshake");
}

std::optional<std::size_t> Engine::read(std::span<std::byte> buffer) {
  const std::lock_guard guard(lock_);
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  clear_errors();
  std::size_t count = 0;
  const int result = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &count);
  if (result == 1) return count;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return std::nullopt;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    default:
      fail(result, "read");
  }
}

void Engine::write(std::span<const std::byte> data) {
  const std::lock_guard guard(lock_);
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  if (said_end_) throw Error(code_of(SSL_R_PROTOCOL_IS_SHUTDOWN), "TLS write");
  clear_errors();
  output_.reserve(output_.size() + data.size() +
                  (data.size() / SSL3_RT_MAX_PLAIN_LENGTH + 1) * kRecordOverhead);
  std::size_t count = 0;
  const int result = SSL_write_ex(ssl_.get(), data.data(), data.size(), &count);
  if (result != 1) fail(result, "write");
}

void Engine::say_end() noexcept {
  const std::lock_guard guard(lock_);
  if (failure_ != nullptr || !is_done_ || std::exchange(said_end_, true)) return;
  clear_errors();
  SSL_shutdown(ssl_.get());  // the first call only writes
  clear_errors();
}

bool Engine::is_drained() const {
  const std::lock_guard guard(lock_);
  return is_done_ && failure_ == nullptr && begin_ == end_ && SSL_has_pending(ssl_.get()) == 0 &&
         (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) == 0;
}

bool Engine::peer_has_ended() const {
  const std::lock_guard guard(lock_);
  return failure_ != nullptr || (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
}

// --- ciphertext --------------------------------------------------------------------------------------------

std::span<std::byte> Engine::input_room() {
  const std::lock_guard guard(lock_);
  begin_ = end_ = 0;
  if (capacity_ != wanted_capacity_) {
    input_.reset();
    capacity_ = 0;
    input_ = std::make_unique_for_overwrite<std::byte[]>(wanted_capacity_);
    capacity_ = wanted_capacity_;
  }
  return {input_.get(), capacity_};
}

void Engine::received(std::size_t bytes) {
  const std::lock_guard guard(lock_);
  end_ = bytes;
  if (bytes == capacity_) wanted_capacity_ = kLargeInput;
  if (bytes < kSmallInput) wanted_capacity_ = kSmallInput;
}

bool Engine::take_output(std::vector<std::byte>& sent) {
  const std::lock_guard guard(lock_);
  if (output_.empty()) return false;
  output_.swap(sent);
  return true;
}

void Engine::release_output() {
  const std::lock_guard guard(lock_);
  if (output_.empty()) output_.shrink_to_fit();
}

std::size_t Engine::output_size() const {
  const std::lock_guard guard(lock_);
  return output_.size();
}

TruncatedError Engine::truncated() const {
  return {code_of(SSL_R_UNEXPECTED_EOF_WHILE_READING),
          "TLS read" + (name_.empty() ? "" : " from " + name_) +
              ": the peer ended the connection without saying so (close_notify)"};
}

int Engine::on_bio_read(BIO* bio, char* data, int size) {
  auto& self = *static_cast<Engine*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (self.begin_ == self.end_) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const std::size_t count = std::min(static_cast<std::size_t>(size), self.end_ - self.begin_);
  std::memcpy(data, self.input_.get() + self.begin_, count);
  self.begin_ += count;
  return static_cast<int>(count);
}

int Engine::on_bio_write(BIO* bio, const char* data, int size) {
  auto& self = *static_cast<Engine*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  try {
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    self.output_.insert(self.output_.end(), bytes, bytes + size);
  } catch (const std::bad_alloc&) {
    self.out_of_memory_ = true;
    return -1;
  }
  return size;
}

long Engine::on_bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* Engine::bio_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fibrio");
    if (made == nullptr) throw std::bad_alloc();
    BIO_meth_set_read(made, &on_bio_read);
    BIO_meth_set_write(made, &on_bio_write);
    BIO_meth_set_ctrl(made, &on_bio_control);
    return made;
  }();
  return method;
}

// --- what was agreed on ------------------------------------------------------------------------------------

Engine::Agreement Engine::agreement() const {
  const std::lock_guard guard(lock_);
  Agreement agreed;
  agreed.version = SSL_get_version(ssl_.get());
  agreed.cipher = SSL_get_cipher_name(ssl_.get());
  const unsigned char* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &protocol, &size);
  if (protocol != nullptr) agreed.alpn.assign(reinterpret_cast<const char*>(protocol), size);
  if (const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name)) agreed.server_name = name;
  agreed.resumed = SSL_session_reused(ssl_.get()) == 1;
  return agreed;
}

CertificateHandle Engine::peer_certificate() const {
  const std::lock_guard guard(lock_);
  return CertificateHandle(SSL_get1_peer_certificate(ssl_.get()));
}

}  // namespace fibrio::tls
