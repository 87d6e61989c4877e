#include "fiber/overflow.hpp"

#include <link.h>
#include <sys/auxv.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>
#include <system_error>

#include "base/fork_hold.hpp"
#include "base/spin_lock.hpp"
#include "base/syscalls.hpp"

namespace fibrio::detail {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#elif defined(__has_feature)
constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
#else
constexpr bool kAddressSanitizer = false;
#endif

constexpr std::size_t kMaxPools = 64;  // loops alive at a time; guess
constexpr std::array kSignals = {SIGSEGV, SIGBUS};

// What the handler needs; a handler has no argument, so this is per process.
struct Watched {
  std::array<std::atomic<const StackPool*>, kMaxPools> pools{};
  // Handlers that look at pools now. seq_cst with the pools' words: either the handler counts itself in
  // before the leaving pool looks, or it sees the null that the pool left.
  std::atomic<int> handlers{0};
  std::atomic<NameOfRunning> name{nullptr};
  std::atomic<int> chaining_thread{0};
  std::array<struct ::sigaction, kSignals.size()> previous{};  // written while not installed

  // Under install_lock:
  int watches = 0;
  bool installed = false;
  // The executable, for addresses that mean something without a core.
  std::uintptr_t program_base = 0;
  std::uintptr_t program_end = 0;
};
constinit Watched watched;
constinit SpinLock install_lock;

// A text built without the C library's formatting (not async-signal-safe) and written in one call, so that
// two threads that crash together do not mix their reports.
class Report {
 public:
  Report& operator<<(std::string_view text) noexcept {
    std::size_t bytes = std::min(text.size(), text_.size() - used_);
    std::memcpy(text_.data() + used_, text.data(), bytes);
    used_ += bytes;
    return *this;
  }
  Report& decimal(std::uintptr_t number) noexcept { return digits(number, 10); }
  Report& hex(std::uintptr_t number) noexcept {
    *this << "0x";
    return digits(number, 16);
  }
  void write() const noexcept {
    std::size_t done = 0;
    while (done < used_) {
      ssize_t result = sys::write(STDERR_FILENO, text_.data() + done, used_ - done);
      if (result <= 0 && result != -EINTR) return;
      if (result > 0) done += static_cast<std::size_t>(result);
    }
  }

 private:
  Report& digits(std::uintptr_t number, unsigned radix) noexcept {
    std::array<char, 20> reversed;
    std::size_t count = 0;
    do {
      reversed[count++] = "0123456789abcdef"[number % radix];
      number /= radix;
    } while (number != 0);
    while (count > 0) *this << std::string_view(&reversed[--count], 1);
    return *this;
  }

  std::array<char, 2048> text_;
  std::size_t used_ = 0;
};

struct Registers {
  std::uintptr_t pc;
  std::uintptr_t sp;
  std::uintptr_t fp;
};

Registers registers_of(const ucontext_t& context) noexcept {
#if defined(__x86_64__)
  const auto& all = context.uc_mcontext.gregs;
  return {static_cast<std::uintptr_t>(all[REG_RIP]), static_cast<std::uintptr_t>(all[REG_RSP]),
          static_cast<std::uintptr_t>(all[REG_RBP])};
#elif defined(__aarch64__)
  const auto& all = context.uc_mcontext;
  return {all.pc, all.sp, all.regs[29]};
#endif
}

void print_frame(Report& report, unsigned number, std::uintptr_t pc) noexcept {
  report << "\n  #";
  report.decimal(number) << " ";
  report.hex(pc);
  if (pc >= watched.program_base && pc < watched.program_end) {
    report << " (program + ";
    report.hex(pc - watched.program_base) << ")";
  }
}

// Follows the chain of saved frame pointers as long as it goes up inside the stack. Code built with
// -fomit-frame-pointer ends it early. Reads only the stack's own memory, which is mapped.
void print_frames(Report& report, const Registers& at, const StackInfo& stack) noexcept {
  constexpr unsigned kMaxFrames = 16;
  struct Frame {
    std::uintptr_t fp;
    std::uintptr_t return_address;
  };
  print_frame(report, 0, at.pc);
  auto low = reinterpret_cast<std::uintptr_t>(stack.low);
  auto top = reinterpret_cast<std::uintptr_t>(stack.top);
  std::uintptr_t fp = at.fp;
  for (unsigned number = 1; number <= kMaxFrames; ++number) {
    if (fp < low || fp > top - sizeof(Frame) || fp % alignof(Frame) != 0) return;
    const auto* frame = reinterpret_cast<const Frame*>(fp);
    if (frame->return_address == 0) return;
    print_frame(report, number, frame->return_address);
    if (frame->fp <= fp) return;
    fp = frame->fp;
  }
}

void report_overflow(const StackInfo& stack, const void* address, const Registers& at) noexcept {
  constexpr std::size_t kKiB = 1024;
  std::array<char, 128> name;
  std::size_t name_bytes = 0;
  NameOfRunning name_of_running = watched.name.load(std::memory_order_acquire);
  if (name_of_running != nullptr) {
    name_bytes = std::min(name_of_running(name.data(), name.size()), name.size());
  }
  Report report;
  report << "fibrio: stack overflow in task '" << std::string_view(name.data(), name_bytes) << "' (";
  report.decimal(stack.usable_bytes() / kKiB) << " KiB usable, address ";
  report.hex(reinterpret_cast<std::uintptr_t>(address))
      << "). Give it more: TaskOptions::stack_size for this task, or Config::stack_size / FIBRIO_STACK_SIZE "
         "for all.";
  print_frames(report, at, stack);
  report << "\n";
  report.write();
}

// Whether the fault is a fiber's that left its own stack. Somebody's stray pointer into another's guard is a
// crash like any other.
bool is_overflow(const void* address, const Registers& at, StackInfo& stack) noexcept {
  // A frame without probes may put the stack pointer below the guard.
  constexpr std::uintptr_t kBelowGuard = 1024 * 1024;
  bool found = false;
  watched.handlers.fetch_add(1, std::memory_order_seq_cst);
  for (const std::atomic<const StackPool*>& each : watched.pools) {
    const StackPool* pool = each.load(std::memory_order_seq_cst);
    if (pool != nullptr && pool->describe(address, stack)) {
      found = true;
      break;
    }
  }
  watched.handlers.fetch_sub(1, std::memory_order_release);
  return found && stack.in_guard && at.sp <= reinterpret_cast<std::uintptr_t>(stack.top) &&
         at.sp + kBelowGuard >= reinterpret_cast<std::uintptr_t>(stack.guard);
}

void call_previous(int signal, siginfo_t* info, void* context) noexcept {
  const struct ::sigaction& previous = watched.previous[signal == kSignals[0] ? 0 : 1];
  int thread = sys::gettid();
  bool is_default = (previous.sa_flags & SA_SIGINFO) == 0 &&
                    (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN);
  if (is_default && previous.sa_handler == SIG_IGN && info->si_code <= 0) return;
  // The second condition: a handler that was installed over ours and calls us, and that we call, for ever.
  if (is_default || watched.chaining_thread.load(std::memory_order_relaxed) == thread) {
    struct ::sigaction action {};
    action.sa_handler = SIG_DFL;  // an ignored fault would repeat for ever; the kernel kills then, too
    static_cast<void>(sys::sigaction(signal, &action, nullptr));
    // A fault repeats by itself when we return; what kill() sent does not.
    if (info->si_code <= 0) sys::raise(signal);
    return;
  }
  int before = watched.chaining_thread.exchange(thread, std::memory_order_relaxed);
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else {
    previous.sa_handler(signal);
  }
  watched.chaining_thread.store(before, std::memory_order_relaxed);
}

void on_fault(int signal, siginfo_t* info, void* context) {
  Registers at = registers_of(*static_cast<const ucontext_t*>(context));
  StackInfo stack{};
  // si_code <= 0: sent by a process; there is no address then.
  if (info->si_code <= 0 || !is_overflow(info->si_addr, at, stack)) {
    return call_previous(signal, info, context);
  }
  report_overflow(stack, info->si_addr, at);
  static_cast<void>(sys::sigaction(signal, &watched.previous[signal == kSignals[0] ? 0 : 1], nullptr));
}

bool is_ours(const struct ::sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_fault;
}

void find_program_locked() noexcept {
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void*) {
        watched.program_base = info->dlpi_addr;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& part = info->dlpi_phdr[i];
          if (part.p_type != PT_LOAD) continue;
          watched.program_end = std::max(watched.program_end, info->dlpi_addr + part.p_vaddr + part.p_memsz);
        }
        return 1;  // the first is the program
      },
      nullptr);
}

// Returns 0 or -errno; nothing stays installed after an error.
int install_locked() noexcept {
  find_program_locked();
  struct ::sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    struct ::sigaction current {};
    int result = sys::sigaction(kSignals[i], nullptr, &current);
    // Ours may be there still: somebody had installed himself over it and went later than our last watch.
    if (result == 0 && !is_ours(current)) {
      watched.previous[i] = current;
      result = sys::sigaction(kSignals[i], &action, nullptr);
    }
    if (result != 0) {
      if (i > 0) static_cast<void>(sys::sigaction(kSignals[0], &watched.previous[0], nullptr));
      return result;
    }
  }
  watched.installed = true;
  return 0;
}

void uninstall_locked() noexcept {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    struct ::sigaction current {};
    if (sys::sigaction(kSignals[i], nullptr, &current) == 0 && is_ours(current)) {
      static_cast<void>(sys::sigaction(kSignals[i], &watched.previous[i], nullptr));
    }
  }
  watched.installed = false;
}

}  // namespace

OverflowWatch::OverflowWatch(const StackPool& pool) : pool_(&pool), slot_(kMaxPools) {
  if (kAddressSanitizer) return;
  int result = 0;
  hold_over_forks<install_lock>();
  {
    std::lock_guard hold(install_lock);
    if (!watched.installed) result = install_locked();
    if (result == 0) {
      ++watched.watches;
      for (std::size_t i = 0; i < kMaxPools && slot_ == kMaxPools; ++i) {
        if (watched.pools[i].load(std::memory_order_relaxed) != nullptr) continue;
        watched.pools[i].store(pool_, std::memory_order_seq_cst);
        slot_ = i;
      }
      // No free slot: the pool's overflows crash without the message.
    }
  }
  if (result != 0) throw std::system_error(-result, std::generic_category(), "sigaction(SIGSEGV)");
}

OverflowWatch::~OverflowWatch() {
  if (kAddressSanitizer) return;
  if (slot_ != kMaxPools) {
    watched.pools[slot_].store(nullptr, std::memory_order_seq_cst);
    // A handler that saw the pool may still look at it. It is quick, or the process dies.
    while (watched.handlers.load(std::memory_order_seq_cst) != 0) ::sched_yield();
  }
  std::lock_guard hold(install_lock);
  if (--watched.watches == 0) uninstall_locked();
}

AltStackMemory::AltStackMemory() {
  if (kAddressSanitizer) return;
  // Our handler takes less than 8 KiB; the rest is for handlers that it calls.
  constexpr std::size_t kBytes = 32 * 1024;
  guard_bytes_ = static_cast<std::size_t>(::getauxval(AT_PAGESZ));
  usable_bytes_ = (kBytes + ::getauxval(AT_MINSIGSTKSZ) + guard_bytes_ - 1) & ~(guard_bytes_ - 1);
  const std::size_t bytes = guard_bytes_ + usable_bytes_;
  const sys::MapResult mapped =
      sys::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped.error != 0) throw std::system_error(-mapped.error, std::generic_category(), "mmap(sigaltstack)");
  base_ = mapped.address;
  if (const int result = sys::mprotect(base_, guard_bytes_, PROT_NONE); result != 0) {
    sys::munmap(base_, bytes);
    throw std::system_error(-result, std::generic_category(), "mprotect(sigaltstack)");
  }
}

AltStackMemory::~AltStackMemory() {
  if (base_ != nullptr) sys::munmap(base_, guard_bytes_ + usable_bytes_);
}

AltStack::AltStack(const AltStackMemory& memory) noexcept {
  if (memory.base_ == nullptr) return;
  stack_t stack{};
  stack.ss_sp = static_cast<std::byte*>(memory.base_) + memory.guard_bytes_;
  stack.ss_size = memory.usable_bytes_;
  // Refused by a filter: then an overflow ends the process without our words.
  is_set_ = sys::sigaltstack(&stack, &former_) == 0;
}

AltStack::~AltStack() {
  if (!is_set_) return;
  former_.ss_flags &= SS_DISABLE;  // SS_ONSTACK cannot be set
  static_cast<void>(sys::sigaltstack(&former_, nullptr));
}

void set_name_of_running(NameOfRunning name) noexcept {
  // Release: pairs with the acquire in the handler.
  watched.name.store(name, std::memory_order_release);
}

}  // namespace fibrio::detail
