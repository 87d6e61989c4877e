// Waiting for signals in a task; EventLoop::add_signal_handler is the form with a callback.
//
//   fibrio::SignalStream signals{SIGTERM, SIGHUP};
//   while (signals.next() == SIGHUP) reload();
//   shut_down();
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>

#include "fibrio/errno.hpp"  // IWYU pragma: export

namespace fibrio {

namespace detail {
class SignalQueue;
}

// A subscription to one or several signals as long as it lives: their default action does not happen, and
// what comes is kept until somebody asks for it. Any number of them may be there for one signal, beside a
// callback of add_signal_handler: each is told. When the last one goes, the signal is again what it was
// before. Movable. As a signal that is pending already, one that comes twice before it is asked for is told
// once. A subscription to SIGINT takes it from run(): while there is one, Ctrl-C cancels nothing by itself.
// asyncio: there are callbacks only.
class SignalStream {
 public:
  // Throws: std::invalid_argument for no signal, or one that cannot be caught; RuntimeError outside a running
  // loop or if another loop of the process has the signal; std::system_error if there are no fds.
  SignalStream(std::initializer_list<int> signals);
  explicit SignalStream(std::span<const int> signals);
  SignalStream(SignalStream&& other) noexcept;
  SignalStream& operator=(SignalStream&& other) noexcept;
  ~SignalStream();

  // Returns the number of the next signal, in the order in which they came. Several tasks may wait; one of
  // them gets it. Do not destroy the stream while one waits.
  // Waits: if none has come. Cancel: CancelledError, no signal is lost. Throws: RuntimeError outside a task,
  // and once the loop of the stream is closed.
  int next();
  // The same without waiting. Threads: any.
  std::optional<int> try_next();

 private:
  std::shared_ptr<detail::SignalQueue> queue_;
};

}  // namespace fibrio
