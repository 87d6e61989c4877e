#include "http/router.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

#include "http/request_access.hpp"
#include "http/text.hpp"

namespace fibrio::http {

namespace {

[[noreturn]] void refuse_route(std::string_view pattern, const char* why) {
  throw std::invalid_argument("http: the route '" + std::string(pattern) + "': " + why);
}

// An empty answer that says which methods there are.
Handler with_allow(unsigned status, std::string allow) {
  return [status, allow = std::move(allow)](Request&) {
    Response response = status == 204 ? Response(204) : error_response(status);
    response.fields.add("Allow", allow);
    return response;
  };
}

// Takes the next segment off a path that begins with "/".
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

}  // namespace

std::vector<Router::Segment> Router::parse(std::string_view pattern) {
  std::vector<Segment> segments;
  if (!pattern.starts_with('/')) refuse_route(pattern, "it must begin with '/'");
  for (std::string_view rest = pattern; !rest.empty();) {
    std::string_view text = take_segment(rest);
    Segment::Kind kind = Segment::Kind::kText;
    if (text.starts_with('{') && text.ends_with('}')) {
      kind = Segment::Kind::kName;
      text = text.substr(1, text.size() - 2);
      if (text.ends_with('*')) {
        kind = Segment::Kind::kRest;
        text.remove_suffix(1);
        if (!rest.empty()) refuse_route(pattern, "{name*} must be its end");
      }
      if (text.empty()) refuse_route(pattern, "a name is empty");
    }
    if (text.find_first_of("{}*") != std::string_view::npos)
      refuse_route(pattern, "a segment is a text or a {name}");
    segments.push_back({kind, std::string(text)});
  }
  return segments;
}

void Router::add(std::string_view method, std::string_view pattern, Handler handler, bool is_quick) {
  if (!is_token(method)) refuse_route(pattern, "the method is no token");
  if (!handler) refuse_route(pattern, "there is no handler");
  std::vector<Segment> segments = parse(pattern);
  Path* path = nullptr;
  if (std::all_of(segments.begin(), segments.end(),
                  [](const Segment& segment) { return segment.kind == Segment::Kind::kText; })) {
    path = &texts_[std::string(pattern)];
  } else {
    const auto same = std::find_if(patterns_.begin(), patterns_.end(),
                                   [pattern](const auto& other) { return other.first == pattern; });
    path = same != patterns_.end()
               ? &same->second
               : &patterns_.emplace_back(pattern, Path{std::move(segments), {}, {}, {}}).second;
  }
  if (choose(*path, method) != nullptr && method != "HEAD")
    refuse_route(pattern, "it has a handler for this method");
  path->routes.push_back({std::string(method), std::move(handler), is_quick});
}

void Router::wrap(Handler& handler) const {
  for (auto middleware = middlewares_.rbegin(); middleware != middlewares_.rend(); ++middleware) {
    handler = [around = *middleware, next = std::move(handler)](Request& request) {
      return around(request, next);
    };
  }
}

void Router::finish() {
  for (auto& [path, handler] : last_) {
    try {
      add("GET", path, std::move(handler), true);
    } catch (const std::invalid_argument&) {
      // The user has one.
    }
  }
  std::set<std::string> methods = {"OPTIONS"};
  const auto finish_path = [this, &methods](Path& path) {
    std::string allow;
    for (Route& route : path.routes) {
      wrap(route.handler);
      allow.append(allow.empty() ? "" : ", ").append(route.method);
      if (route.method == "GET") allow.append(", HEAD");
      methods.insert(route.method);
    }
    if (choose(path, "OPTIONS") == nullptr) allow.append(", OPTIONS");
    path.wrong_method = {{}, with_allow(405, allow), true};
    wrap(path.wrong_method.handler);
    path.options = {{}, with_allow(204, allow), true};
    wrap(path.options.handler);
  };
  for (auto& [text, path] : texts_) finish_path(path);
  for (auto& [pattern, path] : patterns_) finish_path(path);
  not_found_ = {{}, [](Request&) { return error_response(404); }, true};
  wrap(not_found_.handler);
  if (methods.contains("GET")) methods.insert("HEAD");
  std::string allow;
  for (const std::string& method : methods) allow.append(allow.empty() ? "" : ", ").append(method);
  options_ = {{}, with_allow(204, allow), true};
  wrap(options_.handler);
}

const Router::Route* Router::choose(const Path& path, std::string_view method) {
  const Route* get = nullptr;
  for (const Route& route : path.routes) {
    if (route.method == method) return &route;
    if (route.method == "GET") get = &route;
  }
  return method == "HEAD" ? get : nullptr;
}

bool Router::match(const std::vector<Segment>& segments, Request& request) {
  auto& parameters = detail::RequestAccess::parameters(request);
  parameters.clear();
  std::string_view rest = detail::RequestAccess::raw_path(request);
  for (const Segment& segment : segments) {
    if (rest.empty()) return false;
    if (segment.kind == Segment::Kind::kRest) {
      auto value = percent_decode(rest.substr(1));
      if (!value) return false;
      parameters.emplace_back(segment.text, std::move(*value));
      return true;
    }
    const std::string_view text = take_segment(rest);
    if (segment.kind == Segment::Kind::kText) {
      if (text != segment.text && percent_decode(text) != segment.text) return false;
    } else {
      auto value = percent_decode(text);
      if (!value || value->empty()) return false;
      parameters.emplace_back(segment.text, std::move(*value));
    }
  }
  return rest.empty();
}

const Router::Route& Router::find(Request& request) const {
  const Path* found = nullptr;
  if (const auto path = texts_.find(request.path()); path != texts_.end()) {
    found = &path->second;
    if (const Route* route = choose(*found, request.method())) return *route;
  }
  for (const auto& [pattern, path] : patterns_) {
    if (!match(path.segments, request)) continue;
    if (const Route* route = choose(path, request.method())) return *route;
    if (found == nullptr) found = &path;
  }
  detail::RequestAccess::parameters(request).clear();
  const bool is_options = request.method() == "OPTIONS";
  if (is_options && request.target() == "*") return options_;
  if (found == nullptr) return not_found_;
  return is_options ? found->options : found->wrong_method;
}

}  // namespace fibrio::http
