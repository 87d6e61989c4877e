// What: certificates made on the spot, TLS streams over loopback, transports that trickle.
// Threads: make_certificate any; the rest inside tasks.
#pragma once

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fibrio/tls.hpp"
#include "support/net.hpp"

namespace fibrio::tls_test {

using namespace fibrio::net_test;  // NOLINT

// --- certificates ------------------------------------------------------------------------------------------

struct Identity {
  std::string certificate;  // PEM
  std::string key;          // PEM
};

struct CertificateRequest {
  std::string subject = "localhost";                        // CN
  std::string names = "DNS:localhost,IP:127.0.0.1,IP:::1";  // SAN; empty: none
  const Identity* issuer = nullptr;                         // null: self-signed
  bool is_authority = false;
  long from_days = -1;
  long until_days = 30;
};

namespace impl {

template <class T>
T* must(T* object) {
  if (object == nullptr) throw std::runtime_error("OpenSSL refuses to make a certificate");
  return object;
}
template <class T, class Write>
std::string to_pem(T* object, Write write) {
  BIO* bio = must(BIO_new(BIO_s_mem()));
  write(bio, object);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}
inline BIO* reader(const std::string& pem) {
  return must(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

}  // namespace impl

inline Identity make_certificate(const CertificateRequest& request) {
  using namespace impl;
  EVP_PKEY* key = must(EVP_EC_gen("P-256"));
  X509* certificate = must(X509_new());
  X509_set_version(certificate, 2);
  static std::atomic<long> serial = 1;
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), request.from_days * 86400);
  X509_gmtime_adj(X509_getm_notAfter(certificate), request.until_days * 86400);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(request.subject.c_str()), -1, -1, 0);
  X509* issuer = certificate;
  EVP_PKEY* issuer_key = key;
  if (request.issuer != nullptr) {
    BIO* bio = reader(request.issuer->certificate);
    issuer = must(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr));
    BIO_free(bio);
    bio = reader(request.issuer->key);
    issuer_key = must(PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr));
    BIO_free(bio);
  }
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const auto add = [&](int kind, const std::string& value) {
    X509_EXTENSION* extension = must(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  };
  add(NID_subject_key_identifier, "hash");
  add(NID_basic_constraints, request.is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (request.is_authority) add(NID_key_usage, "critical,keyCertSign,cRLSign");
  if (request.issuer != nullptr) add(NID_authority_key_identifier, "keyid:always");
  if (!request.names.empty() && !request.is_authority) add(NID_subject_alt_name, request.names);
  if (X509_sign(certificate, issuer_key, EVP_sha256()) <= 0) throw std::runtime_error("X509_sign");
  Identity made{to_pem(certificate, [](BIO* bio, X509* x) { PEM_write_bio_X509(bio, x); }),
                to_pem(key, [](BIO* bio, EVP_PKEY* k) {
                  PEM_write_bio_PrivateKey(bio, k, nullptr, nullptr, 0, nullptr, nullptr);
                })};
  if (issuer != certificate) {
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  return made;
}

// An authority, and what it signed.
struct Certificates {
  Identity authority = make_certificate({.subject = "test authority", .is_authority = true});
  Identity server = make_certificate({.issuer = &authority});
  Identity client = make_certificate({.subject = "a client", .names = {}, .issuer = &authority});
};
inline const Certificates& certificates() {
  static const Certificates made;
  return made;
}

inline tls::ServerOptions server_options(const Identity& identity = certificates().server) {
  tls::ServerOptions options;
  options.certificates = tls::Pem::text(identity.certificate);
  options.key = tls::Pem::text(identity.key);
  return options;
}
inline tls::ClientOptions client_options() {
  tls::ClientOptions options;
  options.authorities = tls::Pem::text(certificates().authority.certificate);
  return options;
}

// A file that is gone at the end.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    const int fd = ::mkstemp(path_);
    expect(fd >= 0, "a temporary file");
    ::close(fd);
    std::ofstream(path_) << text;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { ::unlink(path_); }
  [[nodiscard]] std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/fibrio-tls-XXXXXX";
};

// --- streams -----------------------------------------------------------------------------------------------

using TlsStream = std::unique_ptr<tls::Stream>;

// Reads and writes at most so many bytes at once; nothing without a wait, if `takes_now` is false.
class Trickle final : public ByteStream {
 public:
  Trickle(std::unique_ptr<ByteStream> stream, std::size_t bytes, bool takes_now = true,
          bool leaves_errors = false)
      : stream_(std::move(stream)), bytes_(bytes), takes_now_(takes_now), leaves_errors_(leaves_errors) {}
  std::size_t read_some(std::span<std::byte> buffer) override {
    const std::size_t count = stream_->read_some(buffer.first(std::min(buffer.size(), bytes_)));
    if (leaves_errors_) ERR_raise(ERR_LIB_USER, 1);
    return count;
  }
  std::size_t write_some(std::span<const std::byte> data) override {
    return stream_->write_some(data.first(std::min(data.size(), bytes_)));
  }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    return takes_now_ ? stream_->try_write_some(data.first(std::min(data.size(), bytes_))) : 0;
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return stream_->can_shutdown_write(); }
  void shutdown_write() override { stream_->shutdown_write(); }
  void close() noexcept override { stream_->close(); }
  void abort() noexcept override { stream_->abort(); }
  [[nodiscard]] bool is_open() const noexcept override { return stream_->is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return stream_->native_handle(); }
  [[nodiscard]] Address peer_address() const override { return stream_->peer_address(); }

 private:
  std::unique_ptr<ByteStream> stream_;
  std::size_t bytes_;
  bool takes_now_;
  bool leaves_errors_;  // in OpenSSL's queue, with each read
};

struct TlsPair {
  TlsStream client;
  TlsStream server;
};
struct PairOptions {
  std::string server_hostname = "localhost";
  tls::HandshakeOptions client = {};
  tls::HandshakeOptions server = {};
};
// Both handshakes over one transport. If one side throws, so does this: the client's error first.
inline TlsPair shake(Ends ends, const tls::Context& client, const tls::Context& server,
                     const PairOptions& options = {}) {
  auto accepting = create_task([&] { return tls::accept(std::move(ends.server), server, options.server); });
  TlsPair pair;
  try {
    pair.client = tls::handshake(std::move(ends.client), client, options.server_hostname, options.client);
  } catch (...) {
    accepting.wait();
    if (!accepting.cancelled()) static_cast<void>(accepting.exception());
    throw;
  }
  pair.server = await(std::move(accepting));
  return pair;
}
inline TlsPair tls_pair() {
  return shake(connect_ends(), tls::Context::client(client_options()),
               tls::Context::server(server_options()));
}

inline std::string read_exactly(ByteStream& stream, std::size_t bytes) { return read_text(stream, bytes); }

// The text of the E that `call` throws; anything else fails the test.
template <class E, class Call>
std::string error_text(Call&& call) {
  try {
    static_cast<void>(call());
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    throw ExpectationFailed(std::string("another exception: ") + error.what());
  }
  throw ExpectationFailed("no exception at all");
}
inline void expect_contains(const std::string& text, const std::string& part) {
  expect(text.find(part) != std::string::npos, "'" + part + "' in: " + text);
}

}  // namespace fibrio::tls_test
