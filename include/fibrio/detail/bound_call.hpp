// What: a callable with its arguments, decay-copied as by std::thread and called once; and what such a call returns.
// Rejected: std::tuple, std::apply, std::invoke and std::is_invocable: for each lambda they cost the compiler more
//   than all else that create_task does (a third of the time to compile an API test). Only pointers to members need
//   std::invoke.
#pragma once

#include <cstddef>
#include <functional>
#include <type_traits>
#include <utility>

namespace fibrio::detail {

template <class F, class... A>
concept CallableAsWritten = requires(F&& function, A&&... arguments) {
  static_cast<F&&>(function)(static_cast<A&&>(arguments)...);
};

// As std::is_invocable_v of the decayed types.
template <class F, class... A>
concept Callable = CallableAsWritten<std::decay_t<F>, std::decay_t<A>...> ||
    std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>;

template <class F, class... A>
struct CallResult : std::invoke_result<F, A...> {};
template <class F, class... A>
requires CallableAsWritten<F, A...>
struct CallResult<F, A...> {
  using type = decltype(std::declval<F>()(std::declval<A>()...));
};

// As std::invoke.
template <class F, class... A>
constexpr decltype(auto) invoke(F&& function, A&&... arguments) {
  if constexpr (std::is_member_pointer_v<std::remove_cvref_t<F>>) {
    return std::invoke(static_cast<F&&>(function), static_cast<A&&>(arguments)...);
  } else {
    return static_cast<F&&>(function)(static_cast<A&&>(arguments)...);
  }
}

template <std::size_t kIndex, class T>
struct BoundArgument {
  template <class U>
  explicit BoundArgument(std::in_place_t, U&& from) noexcept(noexcept(T(static_cast<U&&>(from))))
      : value(static_cast<U&&>(from)) {}
  T value;
};

template <class Indices, class... A>
struct BoundArguments;
template <std::size_t... kIndices, class... A>
struct BoundArguments<std::index_sequence<kIndices...>, A...> : BoundArgument<kIndices, A>... {
  template <class... B>
  explicit BoundArguments(std::in_place_t, B&&... from) noexcept(
      (noexcept(BoundArgument<kIndices, A>(std::in_place, static_cast<B&&>(from))) && ...))
      : BoundArgument<kIndices, A>(std::in_place, static_cast<B&&>(from))... {}

  template <class F>
  decltype(auto) pass_to(F& function) {
    return detail::invoke(static_cast<F&&>(function),
                          static_cast<A&&>(static_cast<BoundArgument<kIndices, A>&>(*this).value)...);
  }
};

template <class F, class... A>
struct BoundCall {
  template <class G, class... B>
  explicit BoundCall(std::in_place_t, G&& from, B&&... arguments_from) noexcept(
      noexcept(F(static_cast<G&&>(from))) && noexcept(BoundArguments<std::index_sequence_for<A...>, A...>(
          std::in_place, static_cast<B&&>(arguments_from)...)))
      : function(static_cast<G&&>(from)), arguments(std::in_place, static_cast<B&&>(arguments_from)...) {}

  // Once: the callable and its arguments are moved from.
  decltype(auto) call() { return arguments.pass_to(function); }

  F function;
  BoundArguments<std::index_sequence_for<A...>, A...> arguments;
};
template <class F>
struct BoundCall<F> {
  template <class G>
  explicit BoundCall(std::in_place_t, G&& from) noexcept(noexcept(F(static_cast<G&&>(from))))
      : function(static_cast<G&&>(from)) {}

  decltype(auto) call() { return detail::invoke(static_cast<F&&>(function)); }

  F function;
};

}  // namespace fibrio::detail
