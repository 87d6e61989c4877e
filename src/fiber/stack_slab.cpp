#include "fiber/stack_slab.hpp"

#include <sys/auxv.h>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <memory>
#include <new>

#include "base/check.hpp"
#include "base/syscalls.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define FIBRIO_STACK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBRIO_STACK_ASAN 1
#endif
#endif
#ifdef FIBRIO_STACK_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace fibrio::detail {

namespace {

constexpr int kMadvGuardInstall = 102;  // not in glibc's headers before 2.41

// getauxval reads memory only: also for signal handlers.
std::size_t page_bytes() noexcept { return ::getauxval(AT_PAGESZ); }

std::size_t stride_of(int size_class) noexcept { return kGuardBytes + stack_class_bytes(size_class); }

// Not under -DNDEBUG only: a wrong size here is another mapping's memory.
std::size_t mapping_bytes(int size_class, unsigned slots) noexcept {
  return slab_head_bytes(slots) + slots * stride_of(size_class) + kGuardBytes;
}

unsigned slots_for(int size_class, std::size_t slab_bytes) noexcept {
  return static_cast<unsigned>(
      std::clamp<std::size_t>(slab_bytes / stride_of(size_class), 1, SlabTable::kMaxSlots));
}

void unpoison(const void* address, std::size_t bytes) noexcept {
#ifdef FIBRIO_STACK_ASAN
  __asan_unpoison_memory_region(address, bytes);
#else
  static_cast<void>(address);
  static_cast<void>(bytes);
#endif
}

}  // namespace

std::size_t slab_head_bytes(unsigned slots) noexcept {
  std::size_t page = page_bytes();
  return (sizeof(StackSlab) + slots * sizeof(Stack) + page - 1) & ~(page - 1);
}

bool describe_in_slab(const SlabTable::Entry& slab, std::uintptr_t address, StackInfo& info) noexcept {
  std::uintptr_t first = slab.base + slab_head_bytes(slab.slots);
  if (address < first) return false;
  std::size_t stride = stride_of(slab.size_class);
  std::size_t slot = (address - first) / stride;
  if (slot >= slab.slots) return false;
  const auto* guard = reinterpret_cast<const std::byte*>(first + slot * stride);
  info = {guard, guard + kGuardBytes, guard + stride, (address - first) % stride < kGuardBytes};
  return true;
}

Stack* StackSlab::take_fresh() noexcept {
  FIBRIO_CHECK(first_fresh < slots, "a slab gives out more stacks than it has");
  std::uint16_t index = first_fresh++;
  std::byte* guard = base() + slab_head_bytes(slots) + index * stride_of(size_class);
  std::byte* low = guard + kGuardBytes;
  auto colour = static_cast<std::uint8_t>((index + number) % kStackColours);
  return std::construct_at(stacks() + index, Stack{.low = low,
                                                   .top = low + stack_class_bytes(size_class),
                                                   .slab = this,
                                                   .next = nullptr,
                                                   .index = index,
                                                   .size_class = size_class,
                                                   .colour = colour,
                                                   .place = StackPlace::kFresh,
                                                   .guarded = false});
}

StackSlab* make_slab(int size_class, std::size_t slab_bytes, SlabTable& table,
                     StackFailure& failure) noexcept {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  // Near a limit on address space a smaller slab may still fit.
  constexpr unsigned kSmallerBy = 16;
  unsigned slots = slots_for(size_class, slab_bytes);
  sys::MapResult mapped;
  for (;;) {
    mapped = sys::mmap(nullptr, mapping_bytes(size_class, slots), PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (mapped.error == 0 || slots == 1) break;
    slots = std::max(slots / kSmallerBy, 1U);
  }
  failure.call = "mmap";
  failure.error = mapped.error;
  if (mapped.error != 0) return nullptr;

  std::size_t bytes = mapping_bytes(size_class, slots);
  // A huge page would make 2 MiB of each first touch. EINVAL where the kernel has none: nothing to turn off.
  sys::madvise(mapped.address, bytes, MADV_NOHUGEPAGE);

  std::uint32_t number = table.add({reinterpret_cast<std::uintptr_t>(mapped.address), size_class, slots});
  if (number == SlabTable::kNoSlot) {
    sys::munmap(mapped.address, bytes);
    failure.call = "malloc";
    failure.error = -ENOMEM;
    return nullptr;
  }
  auto* slab = new (mapped.address) StackSlab;
  slab->bytes = bytes;
  slab->number = number;
  slab->slots = static_cast<std::uint16_t>(slots);
  slab->size_class = static_cast<std::uint8_t>(size_class);
  // Only a net: not to have it costs nobody anything.
  sys::madvise(slab->base() + bytes - kGuardBytes, kGuardBytes, kMadvGuardInstall);
  return slab;
}

bool unmap_slab(StackSlab* slab, SlabTable& table) noexcept {
  std::uint32_t number = slab->number;
  SlabTable::Entry entry{reinterpret_cast<std::uintptr_t>(slab), slab->size_class, slab->slots};
  // The next mapping here starts with a clean shadow.
  unpoison(slab->base(), slab->bytes);
  // Out of the table first: once unmapped, the addresses may be another pool's slab.
  table.remove(number);
  if (sys::munmap(slab, slab->bytes) == 0) return true;
  slab->number = table.add(entry);
  FIBRIO_CHECK(slab->number != SlabTable::kNoSlot, "an entry was just freed");
  return false;
}

GuardKind probe_guard_kind() noexcept {
  std::size_t page = page_bytes();
  sys::MapResult mapped =
      sys::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped.error != 0) return GuardKind::kMadvise;  // the first slab will find out
  int result = sys::madvise(mapped.address, page, kMadvGuardInstall);
  sys::munmap(mapped.address, page);
  return result == 0 ? GuardKind::kMadvise : GuardKind::kMprotect;
}

int install_guard(const Stack& stack, std::atomic<GuardKind>& kind, const char*& call) noexcept {
  std::byte* guard = stack.low - kGuardBytes;
  if (kind.load(std::memory_order_relaxed) == GuardKind::kMadvise) {
    call = "madvise";
    int result = sys::madvise(guard, kGuardBytes, kMadvGuardInstall);
    if (!sys::is_refusal(result)) return result;
    // A kernel before 6.13 that the probe could not ask, a filter, or mlockall: locked memory takes no such guards.
    kind.store(GuardKind::kMprotect, std::memory_order_relaxed);
  }
  call = "mprotect";
  return sys::mprotect(guard, kGuardBytes, PROT_NONE);
}

void discard_pages(StackSlab& slab, Stack* chain) noexcept {
  std::bitset<SlabTable::kMaxSlots + 1> chosen;
  unsigned last = 0;
  unsigned first = slab.slots;
  for (Stack* stack = chain; stack != nullptr; stack = stack->next) {
    chosen.set(stack->index);
    first = std::min<unsigned>(first, stack->index);
    last = std::max<unsigned>(last, stack->index);
  }
  // One call per run of neighbours: guards between them survive it.
  for (unsigned begin = first; begin <= last; ++begin) {
    if (!chosen[begin]) continue;
    unsigned end = begin;
    while (end < last && chosen[end + 1]) ++end;
    std::byte* low = slab.stacks()[begin].low;
    sys::madvise(low, static_cast<std::size_t>(slab.stacks()[end].top - low), MADV_DONTNEED);
    begin = end;
  }
}

void mark_stack_unused(const Stack& stack) noexcept {
#ifdef FIBRIO_STACK_ASAN
  __asan_poison_memory_region(stack.low, stack.usable_bytes());
#else
  static_cast<void>(stack);
#endif
}

void mark_stack_used(const Stack& stack) noexcept { unpoison(stack.low, stack.usable_bytes()); }

}  // namespace fibrio::detail
