// What: TLS for a load of requests, with certificates made on the spot.
#pragma once

#include <memory>
#include <utility>

#include "chaos/http_load.hpp"
#include "fibrio/tls.hpp"
#include "support/tls.hpp"

namespace fibrio::chaos {

// `handshake`: its timeouts.
inline Upgrade tls_accept(const tls::HandshakeOptions& handshake = {}) {
  return [handshake, context = tls::Context::server(tls_test::server_options())](
             std::unique_ptr<ByteStream> stream) -> std::unique_ptr<ByteStream> {
    return tls::accept(std::move(stream), context, handshake);
  };
}
inline Upgrade tls_connect(const tls::HandshakeOptions& handshake = {}) {
  return [handshake, context = tls::Context::client(tls_test::client_options())](
             std::unique_ptr<ByteStream> stream) -> std::unique_ptr<ByteStream> {
    return tls::handshake(std::move(stream), context, "localhost", handshake);
  };
}
// Where pauses may be long the proxy also turns bits over: a record whose length is wrong may be waited for.
inline void speak_tls(HttpLoad& load) {
  const tls::HandshakeOptions handshake{.shutdown_timeout = std::chrono::milliseconds(500)};
  load.accept = tls_accept(handshake);
  load.connect = tls_connect(handshake);
  load.faults.corrupts = load.pauses_are_long;
}

}  // namespace fibrio::chaos
