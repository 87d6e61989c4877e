// What: the model checker's inside: the store histories, the vector clocks, the scheduler and the search.
// Threads: one OS thread; `Engine::running()` is the engine whose execution is going on.
// Invariants:
//   1. An execution is a function of the test body and the sequence of picks; nothing else is random.
//   2. time[t] grows after every operation of t, so "event of t at time k happens before X" is k <=
//   X.time[t].
//   3. A location's stores stand in modification order, which is the order in which they were executed.
//   4. A failure never throws and never returns: code under test is often noexcept. The execution is left
//      where it stands, and its stacks and closures are kept for ever.
// Rejected: sleep sets and other partial-order reduction (unsound together with a preemption bound unless
//   done with much care; the bound already makes the tests short). Exploring modification orders other than
//   the executed one (2+2W): no code of ours depends on it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/model/coroutine.hpp"
#include "support/model/result.hpp"
#include "support/model/where.hpp"

namespace fibrio::model::detail {

inline constexpr unsigned kMaxThreads = 8;       // the test body is one of them
inline constexpr unsigned kHistory = 8;          // stores of a location that can still be read
inline constexpr unsigned kMaxLocations = 4096;  // objects made in one execution
inline constexpr unsigned kMaxPicks = 36;        // alternatives of one pick: one character each

// One time per thread: a vector clock, or the times at which something was touched. One SSE register.
using Times = std::int16_t __attribute__((vector_size(2 * kMaxThreads)));
inline constexpr std::int16_t kNever = INT16_MAX;
inline constexpr std::uint32_t kMaxStepsLimit = INT16_MAX - 1000;

struct Store {
  Times seen;    // when each thread first wrote or read it
  Times sync;    // what an acquire load of it learns; all zero: nothing
  Times causes;  // what any load of it depends on, whatever the orders
  std::uint64_t value;
};

enum class Kind : std::uint8_t { kAtomic, kVar, kEvent, kSemaphore };

struct Location {
  const void* owner;  // the object; null once it is destroyed
  Kind kind;
  std::uint8_t writer;      // thread of the last plain write: a Var's write, any object's construction
  std::int16_t write_time;  // and its time
  std::uint32_t tokens;     // Event: 0 or 1, Semaphore: its count, Atomic: number of stores so far
  std::uint32_t sc_floor;   // Atomic: the newest store that a seq_cst operation wrote or read
  const char* name;         // may be null
  Where write_where;
  Times touched;                       // the last access of each thread, except plain writes
  Times loaded;                        // Atomic: the last load of each thread that has not stored to it since
  Times sync;                          // Event, Semaphore: what a waiter learns
  std::array<Store, kHistory> stores;  // Atomic: a ring
};

class Engine {
 public:
  using Body = std::function<void(Execution&)>;
  using Apply = std::uint64_t (*)(std::uint64_t value, std::uint64_t operand);
  using Handle = std::uint32_t;  // index of a location
  static constexpr Handle kNoHandle = UINT32_MAX;

  // The engine of the execution that is going on; ends the program if there is none.
  [[nodiscard]] static Engine& running();
  [[nodiscard]] static bool is_running() noexcept { return running_ != nullptr; }

  // `options_text` is what stands before the picks in a replay string.
  Engine(const Options& options, std::string options_text, const Body& body);
  ~Engine();

  // Search.
  [[nodiscard]] bool run_once();  // false: failed
  [[nodiscard]] bool next_choices();
  void use_choices(const std::string& picks);
  void use_seed(std::uint64_t seed);
  void keep_trace() noexcept { tracing_ = true; }
  [[nodiscard]] std::string choices() const;  // with the options before them
  [[nodiscard]] std::uint64_t steps() const noexcept { return all_steps_; }
  [[nodiscard]] Failure failure() const noexcept { return failure_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] std::string trace() const;
  static void write_choices_to_stderr() noexcept;

  // Objects. `owner` is the object's address: an access through a dead object does not match.
  [[nodiscard]] Handle make(Kind kind, const void* owner, std::uint64_t value, Where where);
  static void destroy(Handle handle, const void* owner, Where where) noexcept;
  void set_name(Handle handle, const void* owner, const char* name);

  // Atomics.
  [[nodiscard]] std::uint64_t load(Handle, const void* owner, std::memory_order, Where);
  void store(Handle, const void* owner, std::uint64_t value, std::memory_order, Where);
  std::uint64_t modify(Handle, const void* owner, Apply, std::uint64_t operand, std::memory_order, Where,
                       const char* what);
  [[nodiscard]] bool compare_exchange(Handle, const void* owner, std::uint64_t& expected,
                                      std::uint64_t desired, std::memory_order success,
                                      std::memory_order failure, bool weak, Where);

  // Plain data.
  void plain_read(Handle, const void* owner, Where);
  void plain_write(Handle, const void* owner, Where);

  // Events and semaphores.
  void give(Handle, const void* owner, std::uint32_t tokens, Where);
  [[nodiscard]] bool take(Handle, const void* owner, bool timed, Where);  // false: timed out
  [[nodiscard]] bool try_take(Handle, const void* owner, Where);

  // Threads.
  void start_thread(std::function<void()> function, const char* name);
  void join_threads();
  void pause(Where where);
  [[nodiscard]] unsigned choose(unsigned alternatives);
  [[nodiscard]] unsigned current_thread() const noexcept { return current_; }
  [[noreturn]] void fail(Failure failure, std::string message);

 private:
  enum class State : std::uint8_t { kRunnable, kPaused, kWaiting, kJoining, kFinished };
  enum class Pick : std::uint8_t { kPreempt, kThread, kValue, kUser };

  struct Thread {
    Times clock;
    Times causes;  // as clock, but along every load, not only those that synchronise
    State state = State::kFinished;
    bool fresh = false;     // was just chosen to run: choosing again would say the same
    bool deviated = false;  // read stale data, failed spuriously or timed out since its last pause
    bool timed = false;     // State::kWaiting: may time out
    Handle waits_for = kNoHandle;
    std::uint32_t own_stores = 0;
    std::uint32_t seen_stores = 0;  // stores of others when its spinning round began
    const char* name = nullptr;
    std::function<void()> function;
    std::unique_ptr<Coroutine> coroutine;
    Engine* engine = nullptr;
  };

  struct Choice {
    std::uint8_t alternatives;  // 0: from a replayed string, unknown
    std::uint8_t picked;
  };

  static void enter_thread(void* thread);
  void run_thread(Thread& thread);
  void prepare_thread(unsigned index, const char* name);

  [[nodiscard]] Thread& current() noexcept { return threads_[current_]; }
  [[nodiscard]] std::int16_t now() noexcept { return current().clock[static_cast<int>(current_)]; }
  [[nodiscard]] bool can_run(const Thread& thread) const noexcept;
  void schedule_point();
  void run_another();
  void switch_to(unsigned index);
  [[noreturn]] void fail_stuck();

  [[nodiscard]] Location& access(Handle handle, const void* owner, Where where);
  [[nodiscard]] bool is_ordered_after_write(const Location& location) noexcept;
  void note_access(Location& location) noexcept;
  [[nodiscard]] std::uint32_t oldest_readable(const Location& location, bool sequential) noexcept;
  void append(Location& location, std::uint64_t value, std::memory_order order, bool extends_sequence,
              Where where);
  void read_from(Location& location, std::uint32_t index, std::memory_order order) noexcept;
  [[nodiscard]] bool try_take_now(Handle handle, const void* owner, Where where);
  void end_operation() noexcept;
  void note_stale_read() noexcept;
  void check_load_buffering(const Location& location, Where where);
  void count_store() noexcept;

  [[nodiscard]] unsigned pick(unsigned alternatives, Pick kind);
  [[nodiscard]] unsigned draw(unsigned alternatives, Pick kind) noexcept;
  [[nodiscard]] std::uint64_t random() noexcept;

  [[nodiscard]] std::string describe(const Location& location) const;
  [[nodiscard]] std::string describe_thread(unsigned index) const;
  void write_trace(const Location& location, Where where, const std::string& text);

  static inline Engine* running_ = nullptr;

  const Options options_;
  const std::string options_text_;
  const Body& body_;

  std::array<Thread, kMaxThreads> threads_;
  unsigned thread_count_ = 0;
  unsigned current_ = 0;
  unsigned running_children_ = 0;
  Coroutine root_;

  std::vector<Location> locations_;  // those of earlier executions are used again
  std::uint32_t location_count_ = 0;
  std::uint32_t all_stores_ = 0;

  std::uint32_t steps_ = 0;
  std::uint64_t all_steps_ = 0;
  int preemptions_left_ = 0;
  int stale_left_ = 0;
  int spurious_left_ = 0;
  int timeouts_left_ = 0;

  std::vector<Choice> choices_;
  std::size_t depth_ = 0;
  bool random_ = false;
  std::uint64_t random_state_ = 0;
  unsigned preempt_shift_ = 1;  // random search: a thread is preempted with probability 1 / 2^shift

  Failure failure_ = Failure::kNone;
  std::string message_;
  bool tracing_ = false;
  std::vector<std::string> trace_;
};

}  // namespace fibrio::model::detail
