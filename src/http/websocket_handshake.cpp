// What: the handshake of WebSockets by HTTP, on both sides.
// Threads: tasks.
#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/websocket.hpp"
#include "http/request_access.hpp"
#include "http/server_state.hpp"
#include "http/text.hpp"
#include "http/upgraded_stream.hpp"
#include "http/websocket_frame.hpp"
#include "http/websocket_impl.hpp"

namespace fibrio::http {

namespace detail {

struct WebSocketAccess {
  static WebSocketImpl& impl(WebSocket& socket) { return *socket.impl_; }
};

}  // namespace detail

namespace {

using detail::Farewells;
using detail::ServerState;
using detail::WebSocketAccess;
using detail::WebSocketImpl;

// Whether the peer offers it: with its case (RFC 6455, 4.1 and 11.5), unlike other tokens.
bool offers(const Fields& fields, std::string_view protocol) {
  for (const Fields::Field& field : fields) {
    if (!equals_without_case(field.name, "Sec-WebSocket-Protocol")) continue;
    for (std::string_view list = field.value; !list.empty();) {
      if (take_item(list, ',') == protocol) return true;
    }
  }
  return false;
}

// The first of ours that the peer lists; empty if there is none.
std::string choose_protocol(const Request& request, const WebSocketOptions& options) {
  for (const std::string& protocol : options.protocols) {
    if (offers(request.fields(), protocol)) return protocol;
  }
  return {};
}

void serve_upgraded(ByteStream& stream, const std::function<void(WebSocket&)>& serve,
                    const WebSocketOptions& options, const std::string& protocol, ServerState* server) {
  WebSocket socket(stream, WebSocket::Role::kServer, options, protocol);
  WebSocketImpl& impl = WebSocketAccess::impl(socket);
  std::optional<Farewells::Membership> membership;
  if (server != nullptr) membership.emplace(server->farewells, impl);
  try {
    serve(socket);
    socket.close();
  } catch (const WebSocketError&) {
    // The peer broke off, or the server stops: nothing of ours went wrong. It may still have to read why.
    if (impl.has_begun_close()) socket.close();
  } catch (const std::system_error&) {
    if (stream.is_open()) socket.try_say_goodbye(1011);
    throw;
  } catch (const CancelledError&) {
    socket.try_say_goodbye(current_task().cancelling() > 0 ? 1001 : 1011);
    throw;
  } catch (...) {
    const std::exception_ptr failure = std::current_exception();
    if (is_peers_affair(failure, true)) {  // of tasks of a group
      if (stream.is_open()) socket.try_say_goodbye(1011);
    } else {
      socket.close(1011);
    }
    std::rethrow_exception(failure);
  }
}

}  // namespace

Response websocket_response(const Request& request, std::function<void(WebSocket&)> serve,
                            WebSocketOptions options) {
  const Fields& fields = request.fields();
  if (request.method() != "GET" || request.version() < 11 || !fields.has_token("Upgrade", "websocket") ||
      !fields.has_token("Connection", "Upgrade")) {
    Response response = error_response(426, "this is a WebSocket");
    response.fields.add("Upgrade", "websocket");
    return response;
  }
  if (fields.get("Sec-WebSocket-Version") != "13") {
    Response response = error_response(426);
    response.fields.add("Sec-WebSocket-Version", "13");
    return response;
  }
  const std::string_view key = fields.get("Sec-WebSocket-Key");
  const auto keys = std::count_if(fields.begin(), fields.end(), [](const Fields::Field& field) {
    return equals_without_case(field.name, "Sec-WebSocket-Key");
  });
  if (keys != 1 || !is_key(key)) return error_response(400, "Sec-WebSocket-Key");
  Response response(101);
  const std::string protocol = choose_protocol(request, options);
  response.fields.add("Upgrade", "websocket");
  response.fields.add("Sec-WebSocket-Accept", accept_of(key));
  if (!protocol.empty()) response.fields.add("Sec-WebSocket-Protocol", protocol);
  std::shared_ptr<ServerState> server;
  if (ServerState* const state = detail::RequestAccess::server(request); state != nullptr) {
    server = state->shared_from_this();
    if (!options.send_timeout) options.send_timeout = server->options.write_timeout;
    if (!options.message_timeout) options.message_timeout = server->options.body_timeout;
  }
  response.upgrade = [serve = std::move(serve), options = std::move(options), protocol,
                      server = std::move(server)](ByteStream& stream) {
    serve_upgraded(stream, serve, options, protocol, server.get());
  };
  return response;
}

std::unique_ptr<WebSocket> connect_websocket(Session& session, std::string_view url, WebSocketOptions options,
                                             RequestOptions request) {
  const std::string key = make_key();
  request.fields.set("Upgrade", "websocket");
  request.fields.set("Connection", "Upgrade");
  request.fields.set("Sec-WebSocket-Version", "13");
  request.fields.set("Sec-WebSocket-Key", key);
  std::string offered;
  for (const std::string& protocol : options.protocols) offered += (offered.empty() ? "" : ", ") + protocol;
  if (!offered.empty()) request.fields.set("Sec-WebSocket-Protocol", offered);

  ClientResponse response = session.request("GET", url, std::move(request));
  const Fields& fields = response.fields();
  if (response.status() != 101)
    throw ClientError("http: " + response.url().to_string() + ": no WebSocket: status " +
                      std::to_string(response.status()));
  const std::string protocol(fields.get("Sec-WebSocket-Protocol"));
  const bool is_offered = protocol.empty() || std::find(options.protocols.begin(), options.protocols.end(),
                                                        protocol) != options.protocols.end();
  if (!fields.has_token("Upgrade", "websocket") || !fields.has_token("Connection", "Upgrade") ||
      !is_offered || fields.get("Sec-WebSocket-Accept") != accept_of(key) ||
      fields.contains("Sec-WebSocket-Extensions")) {
    throw ClientError("http: " + response.url().to_string() +
                      ": no WebSocket: the handshake's answer is wrong");
  }
  return std::make_unique<WebSocket>(response.take_stream(), WebSocket::Role::kClient, std::move(options),
                                     protocol);
}

}  // namespace fibrio::http
