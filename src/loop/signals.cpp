// What: signals as callbacks of a loop, and as what a SignalStream gets.
//
// Threads: install and uninstall: any, under a lock. The handler: whatever thread the kernel chose.
//
// Protocol. Signal dispositions belong to the process, so there is one table of the process: which loop has a
// signal, and the write end of that loop's pipe. The handler writes the signal's number into the pipe; the read
// end is in worker 0's reactor, whose poller, or a claimer, queues the callback and tells the streams. So signals
// arrive in their order, each as often as it came; but at most kMostUnread of one number are in the pipe, which
// has room for as many of each: a flood of one signal merges with itself and loses no other (Slot::count_in).
// A loop has a signal while it has a callback or a stream for it. A pipe is closed only after the old disposition
// is back and no handler is left at work on it (handler_fd.hpp).
// For SIGINT of run() a second signal before the first was handled to its end restores the default action and
// raises it again: the process dies even if the program hangs. PID 1 has no default actions: it exits. While there
// are streams for it, run() leaves SIGINT to them.
//
// Rejected: signalfd (needs the signal blocked in every thread, also those the user started before).
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "base/fork_hold.hpp"
#include "base/sanitizers.hpp"
#include "base/syscalls.hpp"
#include "fibrio/errors.hpp"
#include "loop/handler_fd.hpp"
#include "loop/loop_impl.hpp"
#include "loop/signal_queue.hpp"
#include "loop/signals.hpp"
#include "sched/fork.hpp"
#include "task/callback.hpp"

namespace fibrio::detail {

namespace {

// 64 signals of them fit into the smallest pipe that there is, a page.
constexpr int kMostUnread = 64;

struct Slot {
  // By the handler: whether one more goes into the pipe. If not, kMostUnread are there that the reader has not counted
  // out; it delivers one of them after this, and sees what came before (release, partner of count_out's acquire).
  [[nodiscard]] bool count_in() noexcept {
    int seen = unread.load(std::memory_order_relaxed);
    while (!unread.compare_exchange_weak(seen, std::min(seen + 1, kMostUnread), std::memory_order_release,
                                         std::memory_order_relaxed)) {
    }
    return seen < kMostUnread;
  }
  // By the reader of the pipe, before it delivers what it read. What is left there from before the loop had given the
  // signal back was not counted: never below zero.
  void count_out() noexcept {
    int seen = unread.load(std::memory_order_relaxed);
    while (!unread.compare_exchange_weak(seen, std::max(seen - 1, 0), std::memory_order_acquire,
                                         std::memory_order_relaxed)) {
    }
  }

  std::atomic<int> unread{0};
  // Read by the handler; written under table_lock.
  HandlerFd pipe;
  std::atomic<bool> dies_at_second{false};
  std::atomic<int> count{0};
  std::atomic<int> streams{0};
  std::atomic<unsigned> forks{0};  // of the process that installed it
  // Guarded by table_lock.
  LoopImpl* owner = nullptr;
  struct sigaction before {};
};

std::mutex table_lock;
std::array<Slot, NSIG> table;

// ThreadSanitizer takes a fiber for a thread, and errno for the one of another.
FIBRIO_NO_TSAN_BEGIN
int get_errno() noexcept { return errno; }
void set_errno(int error) noexcept { errno = error; }
FIBRIO_NO_TSAN_END

void on_signal(int signal) {
  const int interrupted_errno = get_errno();
  Slot& slot = table[static_cast<std::size_t>(signal)];
  if (slot.forks.load(std::memory_order_relaxed) != fork_count()) {
    // In a forked child, which has the handler and the pipe but not the loop: the signal is the child's own.
    static_cast<void>(sys::sigaction(signal, &slot.before, nullptr));
    sys::raise(signal);
    set_errno(interrupted_errno);
    return;
  }
  if (slot.dies_at_second.load(std::memory_order_relaxed) &&
      slot.streams.load(std::memory_order_relaxed) == 0 &&
      slot.count.fetch_add(1, std::memory_order_relaxed) > 0) {
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    static_cast<void>(sys::sigaction(signal, &standard, nullptr));
    sys::raise(signal);
    constexpr int kEndedBySignal = 128;  // as shells say it
    if (::getpid() == 1) ::_exit(kEndedBySignal + signal);
    set_errno(interrupted_errno);
    return;
  }
  slot.pipe.use([&](int fd) {
    if (!slot.count_in()) return;
    const auto number = static_cast<unsigned char>(signal);
    ssize_t result;
    do {
      result = sys::write(fd, &number, 1);
    } while (result == -EINTR);
    if (result < 0) slot.count_out();  // the next one tries again
  });
  set_errno(interrupted_errno);
}

// In a forked child: what the parent's loop had is as it was before.
void forget_parents_handler_locked(int signal) noexcept {
  Slot& slot = table[static_cast<std::size_t>(signal)];
  if (slot.owner == nullptr || slot.forks.load(std::memory_order_relaxed) == fork_count()) return;
  static_cast<void>(sys::sigaction(signal, &slot.before, nullptr));
  slot.streams.store(0, std::memory_order_relaxed);
  slot.owner = nullptr;
}

}  // namespace

// One loop's pipe. Lives from the first handler to the loop's close.
class SignalPipe {
 public:
  explicit SignalPipe(LoopImpl& impl) : impl_(impl) {
    int fds[2];
    const int error = sys::pipe2(fds, O_NONBLOCK | O_CLOEXEC);
    if (error < 0) throw std::system_error(-error, std::system_category(), "pipe2");
    read_.reset(fds[0]);
    write_.reset(fds[1]);
    int add_error = 0;
    registration_ =
        impl.scheduler.worker(0).reactor.add(read_.get(), add_error, EPOLLIN | EPOLLET, &listener_);
    if (registration_ == nullptr) throw std::system_error(-add_error, std::system_category(), "epoll_ctl");
  }
  ~SignalPipe() {
    RunnableChain nobody;
    Reactor::remove(registration_, nobody);
    Reactor::recycle(registration_);
  }
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;

  [[nodiscard]] int write_end() const noexcept { return write_.get(); }

 private:
  static void on_event(void* context, RunnableChain&) noexcept {
    auto& self = *static_cast<SignalPipe*>(context);
    unsigned char numbers[64];
    ssize_t count = 0;
    while ((count = sys::read(self.read_.get(), numbers, sizeof numbers)) > 0) {
      for (ssize_t i = 0; i < count; ++i) self.queue(numbers[i]);
    }
  }
  void queue(int signal) noexcept {
    table[static_cast<std::size_t>(signal)].count_out();
    bool has_streams = false;
    for (const std::shared_ptr<SignalQueue>& stream : streams_of(signal)) {
      has_streams = true;
      stream->deliver(signal);
    }
    const std::shared_ptr<StandingCallback> handler = find(signal);
    // What dies at the second signal is run's own: it steps back.
    if (handler == nullptr || (has_streams && table[static_cast<std::size_t>(signal)].dies_at_second.load(
                                                  std::memory_order_relaxed)))
      return;
    // Looked up again when its turn has come: it may have been removed or replaced by then.
    handler
        ->make_call([this, signal] {
          if (const std::shared_ptr<StandingCallback> callback = find(signal)) (*callback)();
        })
        ->schedule();
  }
  [[nodiscard]] std::shared_ptr<StandingCallback> find(int signal) const {
    std::lock_guard guard(impl_.lock);
    const auto found = impl_.signal_handlers.find(signal);
    return found == impl_.signal_handlers.end() ? nullptr : found->second;
  }
  [[nodiscard]] std::vector<std::shared_ptr<SignalQueue>> streams_of(int signal) const {
    std::vector<std::shared_ptr<SignalQueue>> found;
    std::lock_guard guard(impl_.lock);
    for (const std::shared_ptr<SignalQueue>& queue : impl_.signal_queues) {
      if (queue->wants(signal)) found.push_back(queue);
    }
    return found;
  }

  LoopImpl& impl_;
  sys::UniqueFd read_;
  sys::UniqueFd write_;
  const FdListener listener_{&SignalPipe::on_event, this};
  Registration* registration_ = nullptr;
};

SignalPipeOwner::SignalPipeOwner() noexcept = default;
SignalPipeOwner::~SignalPipeOwner() = default;

namespace {

void require_catchable(int signal, const char* what) {
  if (signal <= 0 || signal >= NSIG || signal == SIGKILL || signal == SIGSTOP || signal == SIGSEGV) {
    throw std::invalid_argument(std::string(what) + ": signal " + std::to_string(signal) +
                                " cannot be handled by a loop");
  }
}

// The loop has the signal from now on.
void take_signal_locked(LoopImpl& impl, int signal, const char* what) {
  forget_parents_handler_locked(signal);
  Slot& slot = table[static_cast<std::size_t>(signal)];
  if (slot.owner == &impl) return;
  if (slot.owner != nullptr) {
    throw RuntimeError(std::string(what) + ": another event loop of this process handles signal " +
                       std::to_string(signal));
  }
  {
    std::lock_guard guard(impl.lock);
    if (impl.signal_pipe.pipe == nullptr) impl.signal_pipe.pipe = std::make_unique<SignalPipe>(impl);
  }
  slot.dies_at_second.store(false, std::memory_order_relaxed);
  if (slot.forks.exchange(fork_count(), std::memory_order_relaxed) != fork_count())
    slot.pipe.forget_handlers();
  slot.unread.store(0,
                    std::memory_order_relaxed);  // the parent's, or an earlier loop's; no handler is at work
  slot.pipe.publish(impl.signal_pipe.pipe->write_end());
  struct sigaction action {};
  action.sa_handler = &on_signal;
  action.sa_flags = SA_RESTART | SA_ONSTACK;  // a fiber's stack may be small
  const int error = sys::sigaction(signal, &action, &slot.before);
  if (error < 0) {
    slot.pipe.withdraw();
    throw std::invalid_argument(std::string(what) + ": the system refuses a handler for signal " +
                                std::to_string(signal));
  }
  slot.owner = &impl;
}

// The loop gives the signal back, if it has neither a callback nor a stream for it.
void leave_signal_locked(LoopImpl& impl, int signal) noexcept {
  Slot& slot = table[static_cast<std::size_t>(signal)];
  if (slot.owner != &impl || slot.streams.load(std::memory_order_relaxed) > 0) return;
  {
    std::lock_guard guard(impl.lock);
    if (impl.signal_handlers.contains(signal)) return;
  }
  static_cast<void>(sys::sigaction(signal, &slot.before, nullptr));
  slot.pipe.withdraw();
  slot.owner = nullptr;
}

}  // namespace

std::shared_ptr<void> install_signal_handler(LoopImpl& impl, int signal, std::function<void()> callback,
                                             bool dies_at_second) {
  require_catchable(signal, "add_signal_handler");
  auto handler = std::make_shared<StandingCallback>(impl.scheduler, std::move(callback));
  hold_over_forks<table_lock>();
  std::lock_guard table_guard(table_lock);
  take_signal_locked(impl, signal, "add_signal_handler");
  Slot& slot = table[static_cast<std::size_t>(signal)];
  slot.dies_at_second.store(dies_at_second, std::memory_order_relaxed);
  slot.count.store(0, std::memory_order_relaxed);
  std::lock_guard guard(impl.lock);
  impl.signal_handlers[signal].swap(handler);
  return handler;
}

bool uninstall_signal_handler(LoopImpl& impl, int signal) {
  if (signal <= 0 || signal >= NSIG) return false;
  std::shared_ptr<StandingCallback> removed;  // dropped after the locks
  std::lock_guard table_guard(table_lock);
  if (table[static_cast<std::size_t>(signal)].owner != &impl) return false;
  {
    std::lock_guard guard(impl.lock);
    const auto found = impl.signal_handlers.find(signal);
    if (found == impl.signal_handlers.end()) return false;
    removed = std::move(found->second);
    impl.signal_handlers.erase(found);
  }
  leave_signal_locked(impl, signal);
  return true;
}

namespace {

void remove_stream_locked(const std::shared_ptr<SignalQueue>& queue) noexcept {
  if (!std::exchange(queue->is_subscribed, false)) return;
  {
    std::lock_guard guard(queue->loop.lock);
    std::erase(queue->loop.signal_queues, queue);
  }
  for (const int signal : queue->numbers) {
    Slot& slot = table[static_cast<std::size_t>(signal)];
    // As run() had it: the next signal is the first one.
    if (slot.streams.fetch_sub(1, std::memory_order_relaxed) == 1)
      slot.count.store(0, std::memory_order_relaxed);
    leave_signal_locked(queue->loop, signal);
  }
}

}  // namespace

void subscribe_to_signals(const std::shared_ptr<SignalQueue>& queue) {
  for (const int signal : queue->numbers) require_catchable(signal, "SignalStream");
  hold_over_forks<table_lock>();
  std::lock_guard table_guard(table_lock);
  LoopImpl& impl = queue->loop;
  std::size_t taken = 0;
  try {
    {
      std::lock_guard guard(impl.lock);
      impl.signal_queues.push_back(queue);
    }
    for (; taken < queue->numbers.size(); ++taken) {
      take_signal_locked(impl, queue->numbers[taken], "SignalStream");
      table[static_cast<std::size_t>(queue->numbers[taken])].streams.fetch_add(1, std::memory_order_relaxed);
    }
  } catch (...) {
    queue->numbers.resize(taken);
    queue->is_subscribed = true;
    remove_stream_locked(queue);
    throw;
  }
  queue->is_subscribed = true;
}

void unsubscribe_from_signals(const std::shared_ptr<SignalQueue>& queue) noexcept {
  std::lock_guard table_guard(table_lock);
  if (queue->forks != fork_count()) {  // a child's copy: the loop's lock may never be opened there
    for (const int signal : queue->numbers) forget_parents_handler_locked(signal);
    return;
  }
  remove_stream_locked(queue);
}

void uninstall_all_signal_handlers(LoopImpl& impl) noexcept {
  for (;;) {
    std::shared_ptr<SignalQueue> queue;
    {
      std::lock_guard table_guard(table_lock);
      {
        std::lock_guard guard(impl.lock);
        if (impl.signal_queues.empty()) break;
        queue = impl.signal_queues.back();
      }
      remove_stream_locked(queue);
    }
    queue->close();
  }
  for (int signal = 1; signal < NSIG; ++signal) static_cast<void>(uninstall_signal_handler(impl, signal));
  impl.signal_pipe.pipe.reset();
}

bool signal_has_default_action(int signal) noexcept {
  {
    std::lock_guard table_guard(table_lock);
    forget_parents_handler_locked(signal);
  }
  struct sigaction action {};
  return sys::sigaction(signal, nullptr, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
         action.sa_handler == SIG_DFL;
}

}  // namespace fibrio::detail
