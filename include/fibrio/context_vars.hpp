// Context variables: values that belong to a line of work and follow it into the tasks and callbacks it starts,
// as Python's contextvars.
//
//   inline fibrio::ContextVar<std::string> request_id("request_id", "none");
//
//   void handle(Request request) {
//     request_id.set(request.id);
//     fibrio::create_task(write_audit_log);  // request_id.get() is request.id there
//   }
//
// Each task has a context of its own, a copy of its creator's at the creation: what it sets, its creator does not
// see. Callbacks get a copy when they are registered. A plain thread has one too, empty at first; `to_thread`
// runs its function in a copy of the caller's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace fibrio {

template <class T>
class ContextVar;

namespace detail {

using ContextValue = std::shared_ptr<const void>;
class ContextState;

// What is true of a variable whatever its type.
class ContextKey {
 public:
  explicit ContextKey(std::string name);
  ContextKey(const ContextKey&) = delete;
  ContextKey& operator=(const ContextKey&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  // Null: not set in the current context, or in this one.
  [[nodiscard]] ContextValue find() const;
  [[nodiscard]] ContextValue find_in(const ContextState& context) const;
  [[noreturn]] void throw_unset() const;

 private:
  std::string name_;

 protected:
  const std::uint64_t id_;  // never used again in the process
};

}  // namespace detail

// What ContextVar::set returns, to undo it once. Copies are the same token.
class ContextToken {
 public:
  ContextToken(const ContextToken&) = default;
  ContextToken& operator=(const ContextToken&) = default;

 private:
  template <class T>
  friend class ContextVar;
  struct Record;
  explicit ContextToken(std::shared_ptr<Record> record) noexcept : record_(std::move(record)) {}
  [[nodiscard]] static ContextToken set(std::uint64_t variable, detail::ContextValue value);
  static void reset(std::uint64_t variable, const ContextToken& token);

  std::shared_ptr<Record> record_;
};

// A set of values: of a task, or made by copy_context(). A handle: copies of it are the same context.
// Threads: any.
class Context {
 public:
  // An empty one.
  Context();

  // Calls `function` in this context and returns what it returns; what it sets stays here. It may wait.
  // Throws: RuntimeError if the context is entered already (a nested run, another run at the same time); what
  // the function throws. asyncio: Context.run.
  template <class F>
  auto run(F&& function) const -> std::invoke_result_t<F> {
    const Entered entered(*this);
    return std::invoke(std::forward<F>(function));
  }

  // The variable's value here; nothing if it is not set here. Its default is not looked at.
  template <class T>
  [[nodiscard]] std::optional<T> get(const ContextVar<T>& variable) const {
    const detail::ContextValue value = variable.find_in(*state_);
    return value == nullptr ? std::nullopt : std::optional<T>(*static_cast<const T*>(value.get()));
  }
  // How many variables are set.
  [[nodiscard]] std::size_t size() const noexcept;
  // Another context with the same values.
  [[nodiscard]] Context copy() const;

  // The same context.
  friend bool operator==(const Context&, const Context&) noexcept = default;

  // For the library's own use.
  explicit Context(std::shared_ptr<detail::ContextState> state) noexcept : state_(std::move(state)) {}
  [[nodiscard]] const std::shared_ptr<detail::ContextState>& state() const noexcept { return state_; }

 private:
  // The calling task, callback or thread is in this context meanwhile.
  class Entered {
   public:
    explicit Entered(const Context& context);
    ~Entered();
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;

   private:
    const std::shared_ptr<detail::ContextState>& state_;
    std::shared_ptr<detail::ContextState> before_;
  };

  std::shared_ptr<detail::ContextState> state_;
};

// A copy of the current context. Waits: no. Threads: any. Python: copy_context.
[[nodiscard]] Context copy_context();

// One variable; usually a global that lives as long as the program. Threads: any; each sees its own context.
template <class T>
class ContextVar : private detail::ContextKey {
 public:
  // `name` is for error messages. Without a default an unset variable cannot be read.
  explicit ContextVar(std::string name, std::optional<T> default_value = std::nullopt)
      : ContextKey(std::move(name)), default_(std::move(default_value)) {}

  using ContextKey::name;

  // A copy of its value in the current context, or of the default. Throws: LookupError if there is neither.
  [[nodiscard]] T get() const {
    if (const detail::ContextValue value = find()) return *static_cast<const T*>(value.get());
    if (!default_) throw_unset();
    return *default_;
  }
  // The same with `fallback` in place of the default.
  [[nodiscard]] T get(T fallback) const {
    if (const detail::ContextValue value = find()) return *static_cast<const T*>(value.get());
    return fallback;
  }

  // Sets it in the current context. The token is for reset.
  ContextToken set(T value) { return ContextToken::set(id_, std::make_shared<const T>(std::move(value))); }

  // What it was before that set. Throws: RuntimeError if the token was used already; std::invalid_argument if
  // it is of another variable, or was made in another context.
  void reset(const ContextToken& token) { ContextToken::reset(id_, token); }

 private:
  friend class Context;
  std::optional<T> default_;
};

}  // namespace fibrio
