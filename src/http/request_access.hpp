// What: the connection's hands on a Request.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "fibrio/http/message.hpp"
#include "http/text.hpp"

namespace fibrio::http::detail {

struct RequestAccess {
  static std::string& method(Request& request) { return request.method_; }
  static void set_target(Request& request, std::string_view target) {
    // `target` may be a part of the old one.
    request.path_size_ = std::min(target.find('?'), target.size());
    const bool is_plain = target.substr(0, request.path_size_).find('%') == std::string_view::npos;
    request.target_ = target;
    request.decoded_path_.reset();
    if (!is_plain) request.decoded_path_ = percent_decode(raw_path(request));
  }
  // As it came.
  static std::string_view raw_path(const Request& request) {
    return std::string_view(request.target_).substr(0, request.path_size_);
  }
  static Fields& fields(Request& request) { return request.fields_; }
  static auto& parameters(Request& request) { return request.parameters_; }
  static const auto& parameters(const Request& request) { return request.parameters_; }
  static auto& content_length(Request& request) { return request.content_length_; }
  static int& version(Request& request) { return request.version_; }
  static bool& keep_alive(Request& request) { return request.keep_alive_; }
  static void set_server(Request& request, ServerState& server) { request.server_ = &server; }
  static ServerState* server(const Request& request) { return request.server_; }
  static void set_source(Request& request, BodySource& source) { request.body_ = &source; }
};

}  // namespace fibrio::http::detail
