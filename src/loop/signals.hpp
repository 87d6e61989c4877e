// What: signal handlers of a loop; the protocol is in signals.cpp.
#pragma once

#include <functional>
#include <memory>

namespace fibrio::detail {

class LoopImpl;
class SignalPipe;
class SignalQueue;

// The loop's end of the pipe, made with the first handler.
struct SignalPipeOwner {
  SignalPipeOwner() noexcept;
  ~SignalPipeOwner();
  std::unique_ptr<SignalPipe> pipe;
};

// `dies_at_second`: a second signal gets the default action at once. Returns the handler that it replaced, to be
// dropped by the caller: it is the user's code.
std::shared_ptr<void> install_signal_handler(LoopImpl& impl, int signal, std::function<void()> callback,
                                             bool dies_at_second = false);
bool uninstall_signal_handler(LoopImpl& impl, int signal);
void uninstall_all_signal_handlers(LoopImpl& impl) noexcept;
// From now on the queue gets its signals, until the second. Throws as SignalStream; then nothing is
// subscribed.
void subscribe_to_signals(const std::shared_ptr<SignalQueue>& queue);
void unsubscribe_from_signals(const std::shared_ptr<SignalQueue>& queue) noexcept;
[[nodiscard]] bool signal_has_default_action(int signal) noexcept;

}  // namespace fibrio::detail
