// What: a certificate made on the spot, contexts for it, and connections over loopback.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <utility>

#include "fibrio/tls.hpp"
#include "support.hpp"

namespace bench {

struct Contexts {
  fibrio::tls::Context server;
  fibrio::tls::Context client;
};

template <class T, class Write>
std::string to_pem(T* object, Write write) {
  BIO* bio = BIO_new(BIO_s_mem());
  write(bio, object);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

// Self-signed, P-256, for localhost. `sessions`: whether clients resume.
inline Contexts make_contexts(bool sessions) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"),
                             -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  for (const auto& [kind, value] : {std::pair{NID_subject_key_identifier, "hash"},
                                    {NID_basic_constraints, "critical,CA:FALSE"},
                                    {NID_subject_alt_name, "DNS:localhost"}}) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  X509_sign(certificate, key, EVP_sha256());
  const auto pem =
      fibrio::tls::Pem::text(to_pem(certificate, [](BIO* bio, X509* x) { PEM_write_bio_X509(bio, x); }));
  const auto key_pem = fibrio::tls::Pem::text(to_pem(key, [](BIO* bio, EVP_PKEY* k) {
    PEM_write_bio_PrivateKey(bio, k, nullptr, nullptr, 0, nullptr, nullptr);
  }));
  X509_free(certificate);
  EVP_PKEY_free(key);
  return {fibrio::tls::Context::server({.certificates = pem, .key = key_pem}),
          fibrio::tls::Context::client({.authorities = pem, .kept_sessions = sessions ? 16U : 0U})};
}

struct PlainPair {
  std::unique_ptr<fibrio::ByteStream> client;
  std::unique_ptr<fibrio::ByteStream> server;
};
inline PlainPair connect_plain(fibrio::TcpListener& listener) {
  auto client = fibrio::make_byte_stream(fibrio::TcpStream::connect(listener.local_address()));
  return {std::move(client), fibrio::make_byte_stream(listener.accept())};
}

}  // namespace bench
