// What: memory that is watched after the object in it was destroyed.
// Threads: as the object; its own functions are for the thread or task that made it.
#pragma once

#include <cstring>
#include <new>
#include <utility>

namespace fibrio::test {

// A T whose memory is still there, and watched, when it is gone.
template <class T>
class Grave {
 public:
  // Calls `on_touched`, at its end, if somebody has written to what was destroyed.
  template <class... A>
  explicit Grave(void (*on_touched)(), A&&... arguments) : on_touched_(on_touched) {
    ::new (static_cast<void*>(bytes_)) T(std::forward<A>(arguments)...);
  }
  Grave(const Grave&) = delete;
  ~Grave() {
    if (!is_dead_) destroy();
    if (!is_quiet()) on_touched_();
  }
  [[nodiscard]] T& operator*() { return *std::launder(reinterpret_cast<T*>(bytes_)); }
  [[nodiscard]] T* operator->() { return &**this; }
  void destroy() {
    (**this).~T();
    is_dead_ = true;
    std::memset(bytes_, kDead, sizeof bytes_);
  }
  // Nobody has written since.
  [[nodiscard]] bool is_quiet() const {
    for (const unsigned char byte : bytes_) {
      if (is_dead_ && byte != kDead) return false;
    }
    return true;
  }

 private:
  void (*const on_touched_)();
  static constexpr unsigned char kDead = 0xA5;
  alignas(T) unsigned char bytes_[sizeof(T)];
  bool is_dead_ = false;
};

}  // namespace fibrio::test
