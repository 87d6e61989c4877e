// What: OpenSSL's objects as C++ owns things, and its errors as exceptions.
// Threads: any. OpenSSL keeps its errors per thread, and a fiber may go on on another one after any wait: so
//   between clear_errors, the call and the reading of the error nothing may wait.
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "fibrio/tls.hpp"

namespace fibrio::tls {

template <auto kFree>
struct Deleter {
  template <class T>
  void operator()(T* object) const noexcept {
    kFree(object);
  }
};

using ContextHandle = std::unique_ptr<SSL_CTX, Deleter<&SSL_CTX_free>>;
using SslHandle = std::unique_ptr<SSL, Deleter<&SSL_free>>;
using SessionHandle = std::unique_ptr<SSL_SESSION, Deleter<&SSL_SESSION_free>>;
using BioHandle = std::unique_ptr<BIO, Deleter<&BIO_free>>;
using CertificateHandle = std::unique_ptr<X509, Deleter<&X509_free>>;
using KeyHandle = std::unique_ptr<EVP_PKEY, Deleter<&EVP_PKEY_free>>;

// For before a call. Mostly there are none, and ERR_clear_error by itself goes through all sixteen places.
inline void clear_errors() {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

// The text of OpenSSL's last error on this thread, and of the data it has; empties the queue.
[[nodiscard]] Error take_error(const std::string& what);

// What a memory BIO holds.
[[nodiscard]] std::string text_of(BIO& bio);
[[nodiscard]] std::string pem_of(X509& certificate);
[[nodiscard]] std::string subject_of(X509& certificate);

}  // namespace fibrio::tls
