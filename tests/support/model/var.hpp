// What: plain data of which the model checker knows every access, and so finds data races. An access is not
// a point where another thread may run: it need not be, as a race is found from either side.
#pragma once

#include <utility>

#include "support/model/engine.hpp"

namespace fibrio::model {

template <class T>
class Var {
  using Engine = detail::Engine;

 public:
  Var(Where where = Where::current()) : Var(T{}, where) {}
  Var(T value, Where where = Where::current())
      : handle_(Engine::is_running() ? Engine::running().make(detail::Kind::kVar, this, 0, where)
                                     : Engine::kNoHandle),
        value_(std::move(value)) {}
  Var(const Var& other) : Var(other.get()) {}
  Var& operator=(const Var& other) {
    set(other.get());
    return *this;
  }
  ~Var() { Engine::destroy(handle_, this, Where::current()); }

  // The name (a literal) stands in traces.
  Var& named(const char* name) {
    Engine::running().set_name(handle_, this, name);
    return *this;
  }

  [[nodiscard]] T get(Where where = Where::current()) const { return read(where); }
  void set(T value, Where where = Where::current()) { write(where) = std::move(value); }
  // Access in place. The reference is for this expression only: each use must be seen.
  [[nodiscard]] const T& read(Where where = Where::current()) const {
    Engine::running().plain_read(handle_, this, where);
    return value_;
  }
  [[nodiscard]] T& write(Where where = Where::current()) {
    Engine::running().plain_write(handle_, this, where);
    return value_;
  }

  // So that a Var can stand where code under test has a plain member.
  operator T() const { return read(); }
  Var& operator=(T value) {
    set(std::move(value));
    return *this;
  }

 private:
  Engine::Handle handle_;
  T value_;
};

}  // namespace fibrio::model
