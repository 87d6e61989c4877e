#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;

namespace {

template <class E>
std::string refused_server(const std::string& certificates, const std::string& key,
                           const std::string& password = {}) {
  return error_text<E>([&] {
    tls::ServerOptions options;
    options.certificates = tls::Pem::text(certificates);
    options.key = tls::Pem::text(key);
    options.key_password = password;
    return tls::Context::server(options);
  });
}

}  // namespace

TEST_CASE("Certificates, keys and authorities come from files too", "[tls]") {
  const TemporaryFile chain(certificates().server.certificate + certificates().authority.certificate);
  const TemporaryFile key(certificates().server.key);
  const TemporaryFile both(certificates().server.key + certificates().server.certificate);
  const TemporaryFile authority("A comment before the certificate.\n" + certificates().authority.certificate);
  on_loops([&] {
    tls::ClientOptions client;
    client.authorities = tls::Pem::file(authority.path());
    tls::ServerOptions server;
    server.certificates = tls::Pem::file(chain.path());
    server.key = tls::Pem::file(key.path());
    (void)shake(connect_ends(), tls::Context::client(client), tls::Context::server(server));
    server.certificates = tls::Pem::file(both.path());
    server.key = {};
    (void)shake(connect_ends(), tls::Context::client(client), tls::Context::server(server));
  });
}

TEST_CASE("The system's authorities are those of SSL_CERT_FILE, as everywhere", "[tls]") {
  const TemporaryFile authority(certificates().authority.certificate);
  const Identity own = make_certificate({});
  ::setenv("SSL_CERT_FILE", authority.path().c_str(), 1);
  on_loops([&] {
    (void)shake(connect_ends(), tls::Context::client(), tls::Context::server(server_options()));
    tls::ClientOptions client;
    client.authorities = tls::Pem::text(own.certificate);
    expect_contains(error_text<tls::VerificationError>([&] {
                      return shake(connect_ends(), tls::Context::client(client),
                                   tls::Context::server(server_options()));
                    }),
                    "unable to get local issuer certificate");
    client.system_too = true;
    (void)shake(connect_ends(), tls::Context::client(client), tls::Context::server(server_options()));
    (void)shake(connect_ends(), tls::Context::client(client), tls::Context::server(server_options(own)));
  });
  ::unsetenv("SSL_CERT_FILE");
}

TEST_CASE("What is wrong with a certificate, a key or a file is said by name", "[tls]") {
  const Identity& server = certificates().server;
  CHECK(refused_server<tls::Error>("no certificate", server.key).find("certificates") == 0);
  CHECK(refused_server<tls::Error>(server.certificate, "no key").find("key") == 0);
  CHECK(refused_server<tls::Error>(server.certificate, certificates().client.key).find("key") == 0);
  CHECK(refused_server<std::invalid_argument>("", server.key).find("certificates") != std::string::npos);
  // Cut in the middle of the second one.
  CHECK(refused_server<tls::Error>(server.certificate + server.certificate.substr(0, 200), server.key)
            .find("certificates") == 0);
  const auto at = [](const std::string& path) {
    tls::ClientOptions options;
    options.authorities = tls::Pem::file(path);
    return tls::Context::client(options);
  };
  CHECK(error_text<std::system_error>([&] {
          return at("/nonexistent/ca.pem");
        }).find("authorities in /nonexistent/ca.pem: No such file") == 0);
  CHECK(error_text<std::system_error>([&] { return at("/"); }).find("authorities in /: ") == 0);
  const TemporaryFile empty("");
  CHECK(error_text<tls::Error>([&] { return at(empty.path()); }).find("authorities in " + empty.path()) == 0);
  CHECK(error_text<std::invalid_argument>([] {
          tls::ServerOptions options = server_options();
          options.client_certificates = tls::ClientCertificate::kRequired;
          return tls::Context::server(options);
        }).find("authorities") != std::string::npos);
}

TEST_CASE("An encrypted key needs its password, and nobody is asked for it", "[tls]") {
  BIO* bio = tls_test::impl::reader(certificates().server.key);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  const std::string encrypted = tls_test::impl::to_pem(key, [](BIO* out, EVP_PKEY* plain) {
    PEM_write_bio_PKCS8PrivateKey(out, plain, EVP_aes_256_cbc(), "open sesame", 11, nullptr, nullptr);
  });
  EVP_PKEY_free(key);
  tls::ServerOptions options = server_options({certificates().server.certificate, encrypted});
  options.key_password = "open sesame";
  on_loops([&] {
    (void)shake(connect_ends(), tls::Context::client(client_options()), tls::Context::server(options));
  });
  CHECK(refused_server<tls::Error>(certificates().server.certificate, encrypted).find("key") == 0);
  CHECK(refused_server<tls::Error>(certificates().server.certificate, encrypted, "wrong").find("key") == 0);
}
