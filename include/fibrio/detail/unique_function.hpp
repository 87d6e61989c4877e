// What: a move-only callable wrapper with a small buffer; how callables cross from templates to compiled
// code. Rejected: std::function (needs copyable callables), std::move_only_function (C++23).
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace fibrio::detail {

template <class Signature>
class UniqueFunction;

template <class R, class... Args>
class UniqueFunction<R(Args...)> {
 public:
  UniqueFunction() noexcept = default;
  template <class F>
  requires(!std::is_same_v<std::decay_t<F>, UniqueFunction> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
      UniqueFunction(F&& callable) {  // NOLINT: converting on purpose, as std::function does
    using Callable = std::decay_t<F>;
    if constexpr (kFits<Callable>) {
      ::new (static_cast<void*>(buffer_)) Callable(std::forward<F>(callable));
      ops_ = &kInlineOps<Callable>;
    } else {
      ::new (static_cast<void*>(buffer_)) Callable*(new Callable(std::forward<F>(callable)));
      ops_ = &kHeapOps<Callable>;
    }
  }
  UniqueFunction(UniqueFunction&& other) noexcept { take(other); }
  UniqueFunction& operator=(UniqueFunction&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~UniqueFunction() { reset(); }

  [[nodiscard]] explicit operator bool() const noexcept { return ops_ != nullptr; }
  R operator()(Args... args) { return ops_->call(buffer_, std::forward<Args>(args)...); }
  void reset() noexcept {
    if (ops_ != nullptr) std::exchange(ops_, nullptr)->destroy(buffer_);
  }

 private:
  struct Ops {
    R (*call)(void* buffer, Args&&... args);
    void (*move)(void* from, void* to) noexcept;  // leaves `from` destroyed
    void (*destroy)(void* buffer) noexcept;
  };
  static constexpr std::size_t kBufferBytes = 48;  // six captured pointers
  template <class F>
  static constexpr bool kFits =
      sizeof(F) <= kBufferBytes &&
      alignof(F) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<F>;

  // As std::invoke_r: a result that nobody asked for is dropped.
  template <class F>
  static R invoke(F& function, Args&&... args) {
    if constexpr (std::is_void_v<R>) {
      static_cast<void>(function(std::forward<Args>(args)...));
    } else {
      return function(std::forward<Args>(args)...);
    }
  }

  template <class F>
  static constexpr Ops kInlineOps{[](void* buffer, Args&&... args) -> R {
                                    return invoke(*static_cast<F*>(buffer), std::forward<Args>(args)...);
                                  },
                                  [](void* from, void* to) noexcept {
                                    ::new (to) F(std::move(*static_cast<F*>(from)));
                                    static_cast<F*>(from)->~F();
                                  },
                                  [](void* buffer) noexcept { static_cast<F*>(buffer)->~F(); }};
  template <class F>
  static constexpr Ops kHeapOps{[](void* buffer, Args&&... args) -> R {
                                  return invoke(**static_cast<F**>(buffer), std::forward<Args>(args)...);
                                },
                                [](void* from, void* to) noexcept { ::new (to) F*(*static_cast<F**>(from)); },
                                [](void* buffer) noexcept { delete *static_cast<F**>(buffer); }};

  void take(UniqueFunction& other) noexcept {
    ops_ = std::exchange(other.ops_, nullptr);
    if (ops_ != nullptr) ops_->move(other.buffer_, buffer_);
  }

  const Ops* ops_ = nullptr;
  alignas(std::max_align_t) std::byte buffer_[kBufferBytes];
};

}  // namespace fibrio::detail
