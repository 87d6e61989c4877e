#include "support/model/coroutine.hpp"

#include <boost/context/detail/fcontext.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <cxxabi.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBRIO_MODEL_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FIBRIO_MODEL_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FIBRIO_MODEL_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBRIO_MODEL_TSAN 1
#endif

#ifdef FIBRIO_MODEL_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef FIBRIO_MODEL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace fibrio::model::detail {
namespace {

namespace context = boost::context::detail;

constexpr std::size_t kGuardBytes = 64 * 1024;
constexpr std::size_t kStackBytes = 256 * 1024;  // room for printf and a throw under the sanitizers

}  // namespace

struct Coroutine::Impl {
  static void begin(context::transfer_t transfer) {
    Coroutine* const self = starting;
    arrive(*self, transfer);
    self->entry_(self->argument_);
    std::abort();  // the entry returned
  }

  // The first thing on the new side: note where the other side stopped.
  static void arrive([[maybe_unused]] Coroutine& self, context::transfer_t transfer) {
    auto* const from = static_cast<Coroutine*>(transfer.data);
    from->context_ = transfer.fctx;
#ifdef FIBRIO_MODEL_ASAN
    __sanitizer_finish_switch_fiber(self.fake_stack_, &from->stack_bottom_, &from->stack_bytes_);
#endif
  }

  static inline Coroutine* starting = nullptr;  // where switch_between is going
};

Coroutine::Coroutine() {
#ifdef FIBRIO_MODEL_TSAN
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

Coroutine::Coroutine(Entry entry, void* argument)
    : entry_(entry), argument_(argument), stack_bytes_(kStackBytes) {
  void* const memory = ::mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED || ::mprotect(memory, kGuardBytes, PROT_NONE) != 0) {
    std::perror("model: no memory for a stack");
    std::abort();
  }
  mapping_ = static_cast<std::byte*>(memory);
  stack_bottom_ = mapping_ + kGuardBytes;
  context_ = context::make_fcontext(mapping_ + kGuardBytes + kStackBytes, kStackBytes, &Impl::begin);
#ifdef FIBRIO_MODEL_ASAN
  __lsan_register_root_region(stack_bottom_, kStackBytes);
#endif
#ifdef FIBRIO_MODEL_TSAN
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

Coroutine::~Coroutine() {
  if (mapping_ == nullptr) return;
#ifdef FIBRIO_MODEL_ASAN
  __lsan_unregister_root_region(stack_bottom_, kStackBytes);
  __asan_unpoison_memory_region(stack_bottom_, kStackBytes);
#endif
#ifdef FIBRIO_MODEL_TSAN
  __tsan_destroy_fiber(tsan_fiber_);
#endif
  ::munmap(mapping_, kGuardBytes + kStackBytes);
}

void Coroutine::switch_between(Coroutine& from, Coroutine& to) {
  auto* const globals = abi::__cxa_get_globals();
  std::memcpy(&from.exceptions_, static_cast<const void*>(globals), sizeof(Exceptions));
  std::memcpy(static_cast<void*>(globals), &to.exceptions_, sizeof(Exceptions));
#ifdef FIBRIO_MODEL_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_bottom_, to.stack_bytes_);
#endif
#ifdef FIBRIO_MODEL_TSAN
  __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
  Impl::starting = &to;
  Impl::arrive(from, context::jump_fcontext(to.context_, &from));
}

}  // namespace fibrio::model::detail
