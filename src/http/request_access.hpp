// What: the connection's hands on a Request.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "fibrio/http/message.hpp"

namespace fibrio::http::detail {

struct RequestAccess {
  static std::string& method(Request& request) { return request.method_; }
  static void set_target(Request& request, std::string_view target) {
    request.path_size_ = std::min(target.find('?'), target.size());  // `target` may be a part of the old one
    request.target_ = target;
  }
  static Fields& fields(Request& request) { return request.fields_; }
  static auto& parameters(Request& request) { return request.parameters_; }
  static auto& content_length(Request& request) { return request.content_length_; }
  static int& version(Request& request) { return request.version_; }
  static bool& keep_alive(Request& request) { return request.keep_alive_; }
  static void set_server(Request& request, ServerState& server) { request.server_ = &server; }
  static ServerState* server(const Request& request) { return request.server_; }
  static void set_source(Request& request, BodySource& source) { request.body_ = &source; }
};

}  // namespace fibrio::http::detail
