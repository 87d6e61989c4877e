// What: a reference to a callable, for helpers of tests that take a body: what they do is compiled once, not for each
// lambda. Threads: those of the callable. The callable must outlive the call that it is passed to.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>

namespace fibrio::test {

template <class Signature>
class FunctionRef;

template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  template <class F>
  requires(!std::same_as<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& callable)
  noexcept  // NOLINT: converting on purpose
      : callable_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
        call_([](void* object, A... arguments) -> R {
          return static_cast<R>(
              (*static_cast<std::remove_reference_t<F>*>(object))(static_cast<A>(arguments)...));
        }) {}
  R operator()(A... arguments) const { return call_(callable_, static_cast<A>(arguments)...); }

 private:
  void* callable_;
  R (*call_)(void*, A...);
};

}  // namespace fibrio::test
