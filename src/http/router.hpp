// What: which handler answers a request.
// Threads: filled by one; then read by any.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fibrio/http/server.hpp"

namespace fibrio::http {

class Router {
 public:
  struct Route {
    std::string method;
    Handler handler;
    bool is_quick = false;
  };

  void add(std::string_view method, std::string_view pattern, Handler handler, bool is_quick);
  // As add(), for GET on a path that has no handler of its own by then.
  void add_last(std::string path, Handler handler) {
    last_.emplace_back(std::move(path), std::move(handler));
  }
  void use(Middleware middleware) { middlewares_.push_back(std::move(middleware)); }
  // Puts the middleware around all handlers. Once, after the last add() and use().
  void finish();

  // Returns the route for it, with the request's parameters set; of a path or method without a handler, one
  // that says so.
  const Route& find(Request& request) const;

 private:
  struct Segment {
    enum class Kind { kText, kName, kRest } kind;
    std::string text;
  };
  struct Path {
    std::vector<Segment> segments;  // none: the text that it is found by
    std::vector<Route> routes;
    Route wrong_method;
    Route options;  // if it has none of its own
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  static std::vector<Segment> parse(std::string_view pattern);
  static bool match(const std::vector<Segment>& segments, Request& request);
  static const Route* choose(const Path& path, std::string_view method);
  void wrap(Handler& handler) const;

  std::unordered_map<std::string, Path, Hash, std::equal_to<>> texts_;
  std::vector<std::pair<std::string, Path>> patterns_;
  std::vector<std::pair<std::string, Handler>> last_;
  std::vector<Middleware> middlewares_;
  Route not_found_;
  Route options_;  // of "OPTIONS *"
};

}  // namespace fibrio::http
