#include "fibrio/http/testing.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "fibrio/fibrio.hpp"
#include "fibrio/testing.hpp"
#include "http/borrowed_stream.hpp"
#include "http/connection.hpp"
#include "http/request_access.hpp"
#include "http/response_header.hpp"
#include "http/server_state.hpp"
#include "http/text.hpp"

namespace fibrio::http {

namespace {

using detail::ServerState;

class MemoryBody final : public detail::BodySource {
 public:
  explicit MemoryBody(std::string text) : text_(std::move(text)), stream_(make_stream_pair().first) {}

  std::size_t read_body(std::span<std::byte> buffer) override {
    const std::size_t count = std::min(buffer.size(), text_.size() - at_);
    std::memcpy(buffer.data(), text_.data() + at_, count);
    at_ += count;
    return count;
  }
  [[nodiscard]] const ByteStream& stream() const noexcept override { return *stream_; }

 private:
  const std::string text_;
  std::size_t at_ = 0;
  const std::unique_ptr<ByteStream> stream_;  // has no addresses
};

class MemoryWriter final : public BodyWriter {
 public:
  explicit MemoryWriter(std::string& body) : body_(body) {}
  void write(std::span<const std::byte> data) override {
    body_.append(reinterpret_cast<const char*>(data.data()), data.size());
  }
  void flush() override {}

 private:
  std::string& body_;
};

Response answer(const ServerState& state, Request& request) {
  if (request.content_length().value_or(0) > state.options.max_body_bytes) return error_response(413);
  try {
    Response response = state.router.find(request).handler(request);
    if (!is_final(response))
      throw std::logic_error("no answer has the status " + std::to_string(response.status));
    if (response.stream && request.method() != "HEAD") {
      MemoryWriter writer(response.body);
      response.stream(writer);
    }
    response.stream = nullptr;
    if (request.method() == "HEAD") response.body.clear();
    return response;
  } catch (const HttpError& error) {
    return Response(error.what() + std::string("\n"), "text/plain; charset=utf-8", error.status());
  } catch (const CancelledError&) {
    throw;
  } catch (...) {
    get_running_loop().call_exception_handler(
        {.message = "http: an exception in the handler of " + request.method() + ' ' +
                    request.target().substr(0, request.target().find('?')),
         .exception = std::current_exception()});
    return error_response(500);
  }
}

}  // namespace

Request::Request(std::string method, std::string target, Fields fields, std::string body)
    : method_(std::move(method)), fields_(std::move(fields)) {
  detail::RequestAccess::set_target(*this, target);
  if (!is_token(method_)) throw std::invalid_argument("http::make_request: the method is no token");
  if (!target_.starts_with('/') && target_ != "*")
    throw std::invalid_argument("http::make_request: the target must begin with '/'");
  if (!fields_.contains("Host")) fields_.add("Host", "localhost");
  content_length_ = body.size();
  if (!body.empty() && !fields_.contains("Content-Length"))
    fields_.add("Content-Length", std::to_string(body.size()));
  const auto source = std::make_shared<MemoryBody>(std::move(body));
  body_ = source.get();
  own_body_ = source;
}

Request make_request(std::string method, std::string target, Fields fields, std::string body) {
  return Request(std::move(method), std::move(target), std::move(fields), std::move(body));
}

Response call(Server& server, Request& request) {
  ServerState& state = *server.state_;
  state.finish_routes();
  detail::RequestAccess::set_server(request, state);
  return answer(state, request);
}

void serve_connection(Server& server, ByteStream& stream) {
  const std::shared_ptr<ServerState> state = server.state_;
  state->finish_routes();
  serve_connection(stream, *state);
}

}  // namespace fibrio::http
