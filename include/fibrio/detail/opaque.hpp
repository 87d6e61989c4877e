// Room inside a public object for a part of the library whose type the public headers do not show.
#pragma once

#include <cstddef>
#include <new>

namespace fibrio::detail {

// Holds one T, which is complete only in the library's own sources: they call make and destroy, once each, in
// the owner's constructor and destructor.
template <class T, std::size_t Bytes>
class Opaque {
 public:
  Opaque() noexcept = default;
  Opaque(const Opaque&) = delete;
  Opaque& operator=(const Opaque&) = delete;

  [[nodiscard]] T& get() noexcept { return *std::launder(reinterpret_cast<T*>(bytes_)); }
  [[nodiscard]] const T& get() const noexcept { return *std::launder(reinterpret_cast<const T*>(bytes_)); }

  template <class... A>
  void make(A&&... arguments) {
    static_assert(sizeof(T) <= Bytes && alignof(T) <= alignof(void*), "give it more room");
    ::new (static_cast<void*>(bytes_)) T(static_cast<A&&>(arguments)...);
  }
  void destroy() noexcept { get().~T(); }

 private:
  alignas(void*) std::byte bytes_[Bytes];
};

}  // namespace fibrio::detail
