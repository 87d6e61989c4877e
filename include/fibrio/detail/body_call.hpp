// What: how the body of a scope (timeout, task group) crosses from templates to compiled code: one function
// pointer and one context. The body takes nothing, or the scope. Threads: the task that runs the body.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace fibrio::detail {

template <class Scope, class Body>
concept BodyOf = std::is_invocable_v<Body&, Scope&> || std::is_invocable_v<Body&>;

template <class Scope, class Body>
class BodyCall {
  static constexpr bool kTakesScope = std::is_invocable_v<Body&, Scope&>;
  static auto result_type() {
    if constexpr (kTakesScope) {
      return std::type_identity<std::invoke_result_t<Body&, Scope&>>{};
    } else {
      return std::type_identity<std::invoke_result_t<Body&>>{};
    }
  }

 public:
  using Result = typename decltype(result_type())::type;

  explicit BodyCall(Body& body) noexcept : body_(body) {}

  static void call(void* self, Scope& scope) { static_cast<BodyCall*>(self)->run(scope); }

  [[nodiscard]] Result take() {
    if constexpr (std::is_reference_v<Result>) {
      return static_cast<Result>(*result_);
    } else if constexpr (!std::is_void_v<Result>) {
      return std::move(*result_);
    }
  }

 private:
  struct Nothing {};
  static auto storage_type() {
    if constexpr (std::is_void_v<Result>) {
      return std::type_identity<Nothing>{};
    } else if constexpr (std::is_reference_v<Result>) {
      return std::type_identity<std::remove_reference_t<Result>*>{};
    } else {
      return std::type_identity<std::optional<std::remove_cv_t<Result>>>{};
    }
  }

  decltype(auto) invoke(Scope& scope) {
    if constexpr (kTakesScope) {
      return std::invoke(body_, scope);
    } else {
      return std::invoke(body_);
    }
  }
  void run(Scope& scope) {
    if constexpr (std::is_void_v<Result>) {
      invoke(scope);
    } else if constexpr (std::is_reference_v<Result>) {
      auto&& referred = invoke(scope);
      result_ = std::addressof(referred);
    } else {
      result_.emplace(invoke(scope));
    }
  }

  Body& body_;
  typename decltype(storage_type())::type result_{};
};

}  // namespace fibrio::detail
