#include "task/context.hpp"

#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "fibrio/detail/saved_context.hpp"
#include "fibrio/errors.hpp"
#include "sched/worker.hpp"
#include "task/callback.hpp"
#include "task/task_control.hpp"

namespace fibrio {

using detail::ContextMap;
using detail::ContextMapRef;
using detail::ContextSlot;
using detail::ContextState;
using detail::ContextValue;
using detail::current_context;

namespace {

// The first entry that is not before `variable`.
ContextMap::const_iterator place_of(const ContextMap& map, std::uint64_t variable) {
  return std::lower_bound(map.begin(), map.end(), variable,
                          [](const auto& entry, std::uint64_t wanted) { return entry.variable < wanted; });
}

ContextValue find_in_map(const ContextMapRef& map, std::uint64_t variable) {
  if (map == nullptr) return nullptr;
  const auto place = place_of(*map, variable);
  return place == map->end() || place->variable != variable ? nullptr : place->value;
}

// The map with another value of one variable; null removes it.
ContextMapRef changed(const ContextMapRef& map, std::uint64_t variable, ContextValue value) {
  auto made = map == nullptr ? std::make_shared<ContextMap>() : std::make_shared<ContextMap>(*map);
  const auto place = made->begin() + (place_of(*made, variable) - made->cbegin());
  const bool is_there = place != made->end() && place->variable == variable;
  if (value == nullptr) {
    if (is_there) made->erase(place);
  } else if (is_there) {
    place->value = std::move(value);
  } else {
    made->insert(place, {variable, std::move(value)});
  }
  return made;
}

}  // namespace

// --- variables ---------------------------------------------------------------------------------------------

namespace detail {

namespace {
std::uint64_t next_variable() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}
}  // namespace

ContextKey::ContextKey(std::string name) : name_(std::move(name)), id_(next_variable()) {}

ContextValue ContextKey::find() const { return find_in_map(current_context().map(), id_); }
ContextValue ContextKey::find_in(const ContextState& context) const {
  return find_in_map(context.map(), id_);
}

void ContextKey::throw_unset() const {
  throw LookupError("the context variable '" + name_ + "' is not set here and has no default");
}

}  // namespace detail

struct ContextToken::Record {
  std::uint64_t variable;
  ContextValue before;
  // Where it was set: the context proper, or the task, callback or thread.
  std::weak_ptr<ContextState> context;
  const void* place;
  std::atomic<bool> used{false};
};

ContextToken ContextToken::set(std::uint64_t variable, ContextValue value) {
  ContextSlot& slot = current_context();
  const ContextMapRef map = slot.map();
  auto record = std::make_shared<Record>();
  record->variable = variable;
  record->before = find_in_map(map, variable);
  const std::shared_ptr<ContextState> entered = slot.entered();
  record->context = entered;
  record->place = entered != nullptr ? nullptr : &slot;
  slot.set_map(changed(map, variable, std::move(value)));
  return ContextToken(std::move(record));
}

void ContextToken::reset(std::uint64_t variable, const ContextToken& token) {
  Record& record = *token.record_;
  ContextSlot& slot = current_context();
  const auto throw_used = [] { throw RuntimeError("ContextVar::reset: the token was used already"); };
  if (record.used.load(std::memory_order_relaxed)) throw_used();  // before anything else, as in Python
  if (record.variable != variable) {
    throw std::invalid_argument("ContextVar::reset: the token was made by another variable");
  }
  const std::shared_ptr<ContextState> entered = slot.entered();
  const void* const place = entered != nullptr ? nullptr : &slot;
  if (record.place != place || record.context.lock() != entered) {
    throw std::invalid_argument("ContextVar::reset: the token was made in another context");
  }
  if (record.used.exchange(true, std::memory_order_relaxed)) throw_used();
  slot.set_map(changed(slot.map(), variable, std::move(record.before)));
}

// --- contexts ----------------------------------------------------------------------------------------------

Context::Context() : state_(std::make_shared<ContextState>(nullptr)) {}

std::size_t Context::size() const noexcept {
  const ContextMapRef map = state_->map();
  return map == nullptr ? 0 : map->size();
}

Context Context::copy() const { return Context(std::make_shared<ContextState>(state_->map())); }

Context copy_context() { return Context(std::make_shared<ContextState>(current_context().map())); }

Context::Entered::Entered(const Context& context) : state_(context.state_) {
  ContextSlot& slot = current_context();
  if (slot.entered() == state_ || !state_->enter()) {
    throw RuntimeError("Context::run: the context is entered already");
  }
  before_ = slot.enter(state_);
}

Context::Entered::~Entered() {
  // Asked again: the function may have waited, and the task may be on another worker.
  current_context().enter(std::move(before_));
  state_->leave();
}

namespace detail {

ContextMapRef ContextState::map() const noexcept {
  if (!has_map()) return nullptr;
  std::lock_guard guard(lock_);
  return map_;
}

ContextMapRef ContextSlot::map() const noexcept {
  if (used_ == nullptr) return nullptr;
  return used_->entered != nullptr ? used_->entered->map() : used_->own;
}

void ContextSlot::set_map(ContextMapRef map) {
  Used& used = use();
  if (used.entered != nullptr) {
    used.entered->set_map(std::move(map));
  } else {
    used.own = std::move(map);
  }
}

std::shared_ptr<ContextState> ContextSlot::entered() const noexcept {
  return used_ == nullptr ? nullptr : used_->entered;
}

std::shared_ptr<ContextState> ContextSlot::enter(std::shared_ptr<ContextState> context) {
  return std::exchange(use().entered, std::move(context));
}

ContextSlot::Used& ContextSlot::use() {
  if (used_ == nullptr) used_ = std::make_unique<Used>();
  return *used_;
}

ContextSlot ContextSlot::copy_used() const {
  ContextSlot made;
  made.set_map(map());
  return made;
}

void ContextState::set_map(ContextMapRef map) noexcept {
  {
    std::lock_guard guard(lock_);
    map_.swap(map);
    has_map_.store(map_ != nullptr, std::memory_order_relaxed);
  }
  // The old one, with objects of the user's, goes after the lock.
}

namespace {
ContextSlot& context_of_thread() {
  if (void* const value = value_of_thread()) return *static_cast<ContextSlot*>(value);
  auto* const made = new ContextSlot;
  set_value_of_thread(made, [](void* value) { delete static_cast<ContextSlot*>(value); });
  return *made;
}
}  // namespace

ContextSlot& current_context() {
  Worker* worker = this_worker();
  if (worker == nullptr) return context_of_thread();
  if (worker->current != nullptr) return TaskControl::of(*worker->current).context;
  ContextSlot* const of_callback =
      worker->callback == nullptr ? nullptr : static_cast<QueuedCallback*>(worker->callback)->context();
  // Else an event of the loop's own: the user's code that it destroys.
  return of_callback != nullptr ? *of_callback : context_of_thread();
}

ContextSlot copy_current_context() { return current_context().copy(); }

SavedContext::SavedContext() : slot_(current_context()), values_(slot_.map()) {}

// A task without variables has nothing to compare, and nothing to call for that.
bool SavedContext::is_changed() const noexcept { return slot_.is_used() && differs(); }
[[gnu::noinline]] bool SavedContext::differs() const noexcept {
  return slot_.entered() != nullptr || slot_.map() != values_;
}

void SavedContext::put_back() const {
  ContextSlot saved;
  if (values_ != nullptr) saved.set_map(std::static_pointer_cast<const ContextMap>(values_));
  slot_ = std::move(saved);
}

}  // namespace detail
}  // namespace fibrio
