#include "tls/openssl.hpp"

namespace fibrio::tls {
namespace {

class ErrorCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "tls"; }
  [[nodiscard]] std::string message(int code) const override {
    const char* text = ERR_reason_error_string(static_cast<unsigned long>(code));
    return text != nullptr ? text : "error " + std::to_string(code);
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  static const ErrorCategory category;
  return category;
}

Error take_error(const std::string& what) {
  const char* data = nullptr;
  int flags = 0;
  // The first error is the cause; those behind it say through which functions it went.
  const unsigned long code = ERR_get_error_all(nullptr, nullptr, nullptr, &data, &flags);
  std::string text = what;
  if ((flags & ERR_TXT_STRING) != 0 && data != nullptr && *data != '\0')
    text += std::string(" (") + data + ")";
  ERR_clear_error();
  return {static_cast<int>(ERR_PACK(ERR_GET_LIB(code), 0, ERR_GET_REASON(code))), text};
}

std::string text_of(BIO& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(&bio, &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

std::string pem_of(X509& certificate) {
  const BioHandle bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || PEM_write_bio_X509(bio.get(), &certificate) != 1) throw take_error("a certificate");
  return text_of(*bio);
}

std::string subject_of(X509& certificate) {
  const BioHandle bio(BIO_new(BIO_s_mem()));
  constexpr unsigned long kUtf8Text = XN_FLAG_RFC2253 & ~static_cast<unsigned long>(ASN1_STRFLGS_ESC_MSB);
  if (bio == nullptr ||
      X509_NAME_print_ex(bio.get(), X509_get_subject_name(&certificate), 0, kUtf8Text) < 0) {
    throw take_error("a certificate's subject");
  }
  return text_of(*bio);
}

}  // namespace fibrio::tls
