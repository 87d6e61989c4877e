// One parsed request. The object is reused for all requests of a connection, so that its strings keep their
// memory.
#pragma once

#include <boost/beast/http/verb.hpp>
#include <string>
#include <string_view>

namespace http_server {

using Method = boost::beast::http::verb;

struct Request {
  Method method = Method::unknown;
  std::string target;  // in origin form: "/sleep?ms=5"
  std::string body;
  int version = 11;
  bool keep_alive = true;  // what the client wants

  [[nodiscard]] std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
  [[nodiscard]] std::string_view query() const {
    const std::size_t mark = target.find('?');
    return mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
  }
};

}  // namespace http_server
