// What: a stack of its own, on which one model thread after another runs; switching is a function call.
// Threads: all of one explore() live on one OS thread. Private to the model checker.
// Protocol: whoever switches hands over its own Coroutine, so that the other side can note where it stopped.
//   The entry never returns; what its frames own is lost when the coroutine is destroyed before they end.
// Rejected: the library's own fibers (the checker must not depend on what it checks); ucontext (a system
//   call per switch, 300 ns); OS threads with hand-over by futex (5 us per switch).
#pragma once

#include <cstddef>

namespace fibrio::model::detail {

class Coroutine {
 public:
  using Entry = void (*)(void* argument);

  Coroutine();  // stands for the stack that is running now
  Coroutine(Entry entry, void* argument);
  ~Coroutine();
  Coroutine(const Coroutine&) = delete;
  Coroutine& operator=(const Coroutine&) = delete;

  // Stops `from`, which must be the running one, and goes on in `to`.
  static void switch_between(Coroutine& from, Coroutine& to);

 private:
  struct Impl;
  // What the C++ runtime keeps per OS thread about exceptions in flight (__cxa_eh_globals).
  struct Exceptions {
    void* caught = nullptr;
    unsigned uncaught = 0;
  };

  void* context_ = nullptr;
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  Exceptions exceptions_;
  std::byte* mapping_ = nullptr;
  const void* stack_bottom_ = nullptr;  // for the sanitizers
  std::size_t stack_bytes_ = 0;
  void* fake_stack_ = nullptr;
  void* tsan_fiber_ = nullptr;
};

}  // namespace fibrio::model::detail
