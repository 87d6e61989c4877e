// The engine's half that knows the memory model: objects, atomics, plain data, events and semaphores.
#include <algorithm>
#include <utility>

#include "support/model/engine.hpp"
#include "support/model/engine_parts.hpp"

namespace fibrio::model::detail {
namespace {

[[nodiscard]] bool acquires(std::memory_order order) noexcept {
  return order != std::memory_order_relaxed && order != std::memory_order_release;
}

[[nodiscard]] bool releases(std::memory_order order) noexcept {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

[[nodiscard]] const char* to_text(std::memory_order order) noexcept {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_consume:
      return "consume";
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    case std::memory_order_seq_cst:
      return "seq_cst";
  }
  return "?";
}

}  // namespace

// ---- Objects ----

Engine::Handle Engine::make(Kind kind, const void* owner, std::uint64_t value, Where where) {
  if (location_count_ == kMaxLocations) fail(Failure::kMisuse, "more than 4096 objects in one execution");
  const Handle handle = location_count_++;
  if (handle == locations_.size()) locations_.emplace_back();
  Location& location = locations_[handle];
  location.owner = owner;
  location.kind = kind;
  location.writer = static_cast<std::uint8_t>(current_);
  location.write_time = now();
  location.tokens = kind == Kind::kAtomic ? 1 : static_cast<std::uint32_t>(value);
  location.sc_floor = 0;
  location.name = nullptr;
  location.write_where = where;
  location.touched = Times{};
  location.loaded = Times{};
  location.sync = Times{};
  if (kind == Kind::kAtomic) {
    Store& store = location.stores[0];
    store.seen = all_times(kNever);
    store.seen[static_cast<int>(current_)] = now();
    store.sync = Times{};
    store.causes = Times{};
    store.value = value;
  }
  return handle;
}

void Engine::destroy(Handle handle, const void* owner, Where) noexcept {
  if (running_ == nullptr || handle >= running_->location_count_) return;
  Engine& engine = *running_;
  Location& location = engine.locations_[handle];
  if (location.owner != owner) return;
  if (!engine.is_ordered_after_write(location) || any(location.touched > engine.current().clock)) {
    engine.fail(Failure::kDataRace, engine.describe_thread(engine.current_) + " destroys " +
                                        engine.describe(location) +
                                        ", and another thread's use of it does not happen before that");
  }
  location.owner = nullptr;
}

void Engine::set_name(Handle handle, const void* owner, const char* name) {
  access(handle, owner, Where::current()).name = name;
}

Location& Engine::access(Handle handle, const void* owner, Where where) {
  if (handle >= location_count_ || locations_[handle].owner != owner) {
    fail(Failure::kDeadObject, describe_thread(current_) + " uses an object (" + to_text(where) +
                                   ") that is destroyed, or was not made in this execution");
  }
  Location& location = locations_[handle];
  if (!is_ordered_after_write(location)) {
    const bool is_var = location.kind == Kind::kVar;
    fail(Failure::kDataRace, describe_thread(current_) + " uses " + describe(location) + " (" +
                                 to_text(where) + "), and " + (is_var ? "the write" : "its construction") +
                                 " by " + describe_thread(location.writer) + " (" +
                                 to_text(location.write_where) + ") does not happen before that");
  }
  return location;
}

bool Engine::is_ordered_after_write(const Location& location) noexcept {
  return location.write_time <= current().clock[location.writer];
}

void Engine::note_access(Location& location) noexcept {
  location.touched[static_cast<int>(current_)] = now();
}

void Engine::end_operation() noexcept { ++current().clock[static_cast<int>(current_)]; }

void Engine::count_store() noexcept {
  ++all_stores_;
  ++current().own_stores;
}

void Engine::plain_read(Handle handle, const void* owner, Where where) {
  Location& location = access(handle, owner, where);
  note_access(location);
  if (tracing_) write_trace(location, where, "reads");
}

void Engine::plain_write(Handle handle, const void* owner, Where where) {
  Location& location = access(handle, owner, where);
  if (any(location.touched > current().clock)) {
    fail(Failure::kDataRace, describe_thread(current_) + " writes " + describe(location) + " (" +
                                 to_text(where) +
                                 "), and a read by another thread does not happen before that");
  }
  location.touched = Times{};
  location.writer = static_cast<std::uint8_t>(current_);
  location.write_time = now();
  location.write_where = where;
  if (tracing_) write_trace(location, where, "writes");
}

// ---- Atomics ----

std::uint32_t Engine::oldest_readable(const Location& location, bool sequential) noexcept {
  std::uint32_t lowest = location.tokens > kHistory ? location.tokens - kHistory : 0;
  if (sequential) lowest = std::max(lowest, location.sc_floor);
  const Times clock = current().clock;
  for (std::uint32_t i = location.tokens - 1; i > lowest; --i) {
    if (any(location.stores[i % kHistory].seen <= clock)) return i;
  }
  return lowest;
}

void Engine::read_from(Location& location, std::uint32_t index, std::memory_order order) noexcept {
  Store& store = location.stores[index % kHistory];
  auto seen = store.seen[static_cast<int>(current_)];
  store.seen[static_cast<int>(current_)] = std::min(seen, now());
  if (acquires(order)) current().clock = later(current().clock, store.sync);
  if (order == std::memory_order_seq_cst) location.sc_floor = std::max(location.sc_floor, index);
  current().causes = later(current().causes, store.causes);
  location.loaded[static_cast<int>(current_)] = now();
  if (index + 1 != location.tokens) note_stale_read();
}

void Engine::note_stale_read() noexcept {
  if (stale_left_ > 0) --stale_left_;
  current().deviated = true;
}

// A load that this store depends on, but that does not happen before it, may on some machines be carried out
// after the store and return its value: the one kind of outcome that executing in order never shows.
void Engine::check_load_buffering(const Location& location, Where where) {
  const Thread& self = threads_[current_];
  const auto early = (location.loaded > self.clock) & (location.loaded <= self.causes);
  if (!any(early)) return;
  fail(Failure::kLoadBuffering,
       describe_thread(current_) + " stores to " + describe(location) + " (" + to_text(where) +
           ") what an earlier load by another thread may see: it does not happen before the store");
}

void Engine::append(Location& location, std::uint64_t value, std::memory_order order, bool extends_sequence,
                    Where where) {
  if (options_.report_load_buffering) check_load_buffering(location, where);
  location.loaded[static_cast<int>(current_)] = 0;  // coherence: not past its own store
  const Times inherited = extends_sequence ? location.stores[(location.tokens - 1) % kHistory].sync : Times{};
  Store& store = location.stores[location.tokens % kHistory];
  store.seen = all_times(kNever);
  store.seen[static_cast<int>(current_)] = now();
  store.sync = releases(order) ? later(inherited, current().clock) : inherited;
  store.causes = later(current().causes, current().clock);
  store.value = value;
  if (order == std::memory_order_seq_cst) location.sc_floor = location.tokens;
  ++location.tokens;
  count_store();
}

std::uint64_t Engine::load(Handle handle, const void* owner, std::memory_order order, Where where) {
  if (releases(order) && order != std::memory_order_seq_cst) fail(Failure::kMisuse, "a load that releases");
  schedule_point();
  Location& location = access(handle, owner, where);
  note_access(location);
  const std::uint32_t newest = location.tokens - 1;
  std::uint32_t index = newest;
  if (stale_left_ != 0) {
    const std::uint32_t oldest = oldest_readable(location, order == std::memory_order_seq_cst);
    if (oldest != newest) index -= pick(newest - oldest + 1, Pick::kValue);
  }
  const std::uint64_t value = location.stores[index % kHistory].value;
  if (tracing_) {
    std::string text = std::string("load ") + to_text(order) + " -> " + to_text(value);
    if (index != newest) text += " (" + std::to_string(newest - index) + " stores old)";
    write_trace(location, where, text);
  }
  read_from(location, index, order);
  end_operation();
  return value;
}

void Engine::store(Handle handle, const void* owner, std::uint64_t value, std::memory_order order,
                   Where where) {
  if (acquires(order) && order != std::memory_order_seq_cst) fail(Failure::kMisuse, "a store that acquires");
  schedule_point();
  Location& location = access(handle, owner, where);
  note_access(location);
  append(location, value, order, false, where);
  if (tracing_) write_trace(location, where, std::string("store ") + to_text(order) + " " + to_text(value));
  end_operation();
}

std::uint64_t Engine::modify(Handle handle, const void* owner, Apply apply, std::uint64_t operand,
                             std::memory_order order, Where where, const char* what) {
  schedule_point();
  Location& location = access(handle, owner, where);
  note_access(location);
  const std::uint32_t newest = location.tokens - 1;
  const std::uint64_t old = location.stores[newest % kHistory].value;
  read_from(location, newest, order);
  append(location, apply(old, operand), order, true, where);
  if (tracing_) {
    const std::uint64_t value = location.stores[(newest + 1) % kHistory].value;
    write_trace(location, where,
                std::string(what) + " " + to_text(order) + " " + to_text(old) + " -> " + to_text(value));
  }
  end_operation();
  return old;
}

bool Engine::compare_exchange(Handle handle, const void* owner, std::uint64_t& expected,
                              std::uint64_t desired, std::memory_order success, std::memory_order failure,
                              bool weak, Where where) {
  if (releases(failure) && failure != std::memory_order_seq_cst) {
    fail(Failure::kMisuse, "a compare_exchange that releases when it fails");
  }
  schedule_point();
  Location& location = access(handle, owner, where);
  note_access(location);
  // What it may do: with the newest store; fail spuriously; fail on an older store with another value.
  constexpr std::uint32_t kSpurious = UINT32_MAX;
  const std::uint32_t newest = location.tokens - 1;
  const bool can_exchange = location.stores[newest % kHistory].value == expected;
  std::array<std::uint32_t, kHistory + 1> outcomes;
  unsigned count = 0;
  outcomes[count++] = newest;
  if (weak && can_exchange && spurious_left_ != 0) outcomes[count++] = kSpurious;
  if (stale_left_ != 0) {
    const std::uint32_t oldest = oldest_readable(location, failure == std::memory_order_seq_cst);
    for (std::uint32_t i = newest; i-- > oldest;) {
      if (location.stores[i % kHistory].value != expected) outcomes[count++] = i;
    }
  }
  const std::uint32_t outcome = outcomes[count == 1 ? 0 : pick(count, Pick::kValue)];
  const char* const what = weak ? "compare_exchange_weak " : "compare_exchange_strong ";
  if (outcome == newest && can_exchange) {
    read_from(location, newest, success);
    append(location, desired, success, true, where);
    if (tracing_) {
      write_trace(location, where,
                  std::string(what) + to_text(success) + " " + to_text(expected) + " -> " + to_text(desired));
    }
    end_operation();
    return true;
  }
  const bool spurious = outcome == kSpurious;
  const std::uint32_t index = spurious ? newest : outcome;
  if (spurious) {
    if (spurious_left_ > 0) --spurious_left_;
    current().deviated = true;
  }
  const std::uint64_t value = location.stores[index % kHistory].value;
  if (tracing_) {
    std::string text = std::string(what) + to_text(failure) + " " + to_text(expected) +
                       (spurious ? " fails spuriously" : " fails, sees " + to_text(value));
    if (index != newest) text += " (" + std::to_string(newest - index) + " stores old)";
    write_trace(location, where, text);
  }
  read_from(location, index, failure);
  expected = value;
  end_operation();
  return false;
}

// ---- Events and semaphores ----

void Engine::give(Handle handle, const void* owner, std::uint32_t tokens, Where where) {
  schedule_point();
  Location& location = access(handle, owner, where);
  note_access(location);
  location.tokens = location.kind == Kind::kEvent ? 1 : location.tokens + tokens;
  location.sync = later(location.sync, current().clock);
  count_store();
  if (tracing_) write_trace(location, where, location.kind == Kind::kEvent ? "signal" : "release");
  end_operation();
}

bool Engine::take(Handle handle, const void* owner, bool timed, Where where) {
  for (;;) {
    if (access(handle, owner, where).tokens != 0) {
      schedule_point();
      if (try_take_now(handle, owner, where)) return true;
      continue;
    }
    if (tracing_) write_trace(locations_[handle], where, "waits");
    if (++steps_ > options_.max_steps) fail(Failure::kLivelock, "more than max_steps operations");
    Thread& self = current();
    self.state = State::kWaiting;
    self.fresh = false;
    self.waits_for = handle;
    self.timed = timed;
    run_another();
    self.state = State::kRunnable;
    if (try_take_now(handle, owner, where)) return true;
    // Chosen to run although there is nothing to take: the timeout.
    if (timeouts_left_ > 0) --timeouts_left_;
    self.deviated = true;
    if (tracing_) write_trace(locations_[handle], where, "times out");
    end_operation();
    return false;
  }
}

bool Engine::try_take(Handle handle, const void* owner, Where where) {
  schedule_point();
  return try_take_now(handle, owner, where);
}

bool Engine::try_take_now(Handle handle, const void* owner, Where where) {
  Location& location = access(handle, owner, where);
  note_access(location);
  const bool taken = location.tokens != 0;
  if (taken) {
    current().clock = later(current().clock, location.sync);
    --location.tokens;
    if (location.kind == Kind::kEvent) location.sync = Times{};
    count_store();
  }
  if (tracing_) write_trace(location, where, taken ? "takes" : "finds nothing to take");
  end_operation();
  return taken;
}

}  // namespace fibrio::model::detail
