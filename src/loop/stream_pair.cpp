// What: a connection in memory, for tests.
// Threads: any of the loop.
// Invariant: all state is in a Wire, which both ends and every call inside of them hold. A Pipe is one direction.
//   Its mutex is never held over a wait, nor over Event::set. A call that has to wait clears its event while it
//   sees, under the mutex, that there is nothing to do; whoever changes that sets the event after it has let the
//   mutex go. So the change comes before the look, or the set after the clear.
// Rejected: a timer for each write that is on its way: timers would outlive the streams. The reader waits for the
//   arrival instead, and all others take the time into account when they look.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/locks.hpp"
#include "fibrio/testing.hpp"
#include "fibrio/timeouts.hpp"
#include "sched/worker.hpp"
#include "task/budget.hpp"

namespace fibrio {

namespace {

[[noreturn]] void fail(int error, const char* call) {
  throw std::system_error(error, std::generic_category(), std::string("stream pair: ") + call);
}

// What has a moment at which it comes about at the other end.
struct Arrival {
  bool is_set = false;
  TimePoint when{};
};

class Pipe {
 public:
  Pipe(const StreamPairOptions& options, std::uint64_t cut_after)
      : options_(options), until_cut_(cut_after) {}

  std::size_t read(std::span<std::byte> buffer) {
    detail::spend_budget();
    for (;;) {
      std::unique_lock guard(mutex_);
      if (reader_closed_) fail(EBADF, "read");
      const Arrival next = next_arrival();
      if (next.is_set && has_come(next)) {
        if (chunks_.empty()) return end_of_reading();
        const std::size_t count = take(buffer);
        guard.unlock();
        writable_.set();
        return count;
      }
      readable_.clear();
      guard.unlock();
      wait_for_reading(next);
      if (is_reader_closed()) fail(ECANCELED, "read");
    }
  }

  // 0: there is no room now.
  std::size_t try_write(std::span<const std::byte> data) {
    std::unique_lock guard(mutex_);
    return write_locked(data, guard);
  }

  std::size_t write(std::span<const std::byte> data) {
    detail::spend_budget();
    for (;;) {
      std::unique_lock guard(mutex_);
      if (const std::size_t count = write_locked(data, guard); count > 0) {
        if (guard.owns_lock()) guard.unlock();
        return count;
      }
      writable_.clear();
      guard.unlock();
      writable_.wait();
      guard.lock();
      if (writer_closed_) fail(ECANCELED, "write");
    }
  }

  // The end of what is written. Reading goes on to there.
  void end_writing(bool is_close) {
    {
      const std::lock_guard guard(mutex_);
      if (is_close) writer_closed_ = true;
      if (!end_.is_set) end_ = arrival();
    }
    wake();
  }
  void close_reading() {
    {
      const std::lock_guard guard(mutex_);
      reader_closed_ = true;
      if (!reader_gone_.is_set) reader_gone_ = arrival();
      chunks_.clear();
      pending_ = 0;
    }
    wake();
  }
  // What is on its way is lost, or comes first.
  void reset(bool is_lossy) {
    {
      const std::lock_guard guard(mutex_);
      if (reset_.is_set) return;
      reset_ = arrival();
      if (is_lossy) {
        chunks_.clear();
        pending_ = 0;
      }
    }
    wake();
  }
  [[nodiscard]] bool is_cut() {
    const std::lock_guard guard(mutex_);
    return until_cut_ == 0;
  }

 private:
  struct Chunk {
    std::vector<std::byte> data;
    std::size_t used = 0;
    Arrival arrival;
  };

  // Outside of a loop, where there is no clock, everything comes at once.
  [[nodiscard]] Arrival arrival() const {
    if (options_.latency <= Duration::zero() || detail::this_worker() == nullptr)
      return {true, TimePoint::min()};
    return {true, get_running_loop().time() + options_.latency};
  }
  [[nodiscard]] static bool has_come(const Arrival& arrival) {
    return arrival.when == TimePoint::min() || detail::this_worker() == nullptr ||
           arrival.when <= get_running_loop().time();
  }
  [[nodiscard]] Arrival next_arrival() const {
    if (!chunks_.empty()) return chunks_.front().arrival;
    return reset_.is_set ? reset_ : end_;
  }
  [[nodiscard]] bool is_reader_closed() {
    const std::lock_guard guard(mutex_);
    return reader_closed_;
  }

  std::size_t end_of_reading() const {
    if (reset_.is_set) fail(ECONNRESET, "read");
    return 0;
  }

  std::size_t take(std::span<std::byte> buffer) {
    std::size_t count = 0;
    const std::size_t most = std::min(buffer.size(), options_.max_read);
    while (count < most && !chunks_.empty() && has_come(chunks_.front().arrival)) {
      Chunk& chunk = chunks_.front();
      const std::size_t part = std::min(most - count, chunk.data.size() - chunk.used);
      std::memcpy(buffer.data() + count, chunk.data.data() + chunk.used, part);
      count += part;
      chunk.used += part;
      if (chunk.used == chunk.data.size()) chunks_.pop_front();
    }
    pending_ -= count;
    return count;
  }

  std::size_t write_locked(std::span<const std::byte> data, std::unique_lock<std::mutex>& guard) {
    if (writer_closed_) fail(EBADF, "write");
    if (reset_.is_set && (until_cut_ == 0 || has_come(reset_))) fail(ECONNRESET, "write");
    if (end_.is_set || (reader_gone_.is_set && has_come(reader_gone_))) fail(EPIPE, "write");
    std::size_t count = std::min(data.size(), options_.max_write);
    if (reader_gone_.is_set || reset_.is_set) return count;  // it is on its way to nobody
    count = std::min(count, options_.capacity - pending_);
    count = static_cast<std::size_t>(std::min<std::uint64_t>(count, until_cut_));
    if (count == 0) return 0;
    chunks_.push_back({{data.begin(), data.begin() + static_cast<std::ptrdiff_t>(count)}, 0, arrival()});
    pending_ += count;
    if (until_cut_ != StreamPairOptions::kNever) until_cut_ -= count;
    if (until_cut_ == 0) reset_ = arrival();
    guard.unlock();
    readable_.set();
    return count;
  }

  // Until something may have come.
  void wait_for_reading(const Arrival& next) {
    if (!next.is_set) return readable_.wait();
    try {
      timeout_at(next.when, [this] { readable_.wait(); });
    } catch (const TimeoutError&) {
    }
  }

  void wake() {
    readable_.set();
    writable_.set();
  }

  const StreamPairOptions options_;
  std::mutex mutex_;
  std::deque<Chunk> chunks_;
  std::size_t pending_ = 0;  // bytes in chunks_
  std::uint64_t until_cut_;  // how many more may be written before the cut
  Arrival end_;              // nothing more is written
  Arrival reset_;
  Arrival reader_gone_;
  bool reader_closed_ = false;
  bool writer_closed_ = false;
  Event readable_;
  Event writable_;
};

struct Wire {
  explicit Wire(const StreamPairOptions& options)
      : forth(options, options.cut_first_after), back(options, options.cut_second_after) {}
  Pipe forth;
  Pipe back;
};

class End final : public ByteStream {
 public:
  End(std::shared_ptr<Wire> wire, bool is_first, bool half_close)
      : wire_(std::move(wire)), is_first_(is_first), half_close_(half_close) {}
  ~End() override { close(); }

  std::size_t read_some(std::span<std::byte> buffer) override {
    const std::shared_ptr<Wire> wire = wire_;
    return buffer.empty() ? 0 : in(*wire).read(buffer);
  }
  std::size_t write_some(std::span<const std::byte> data) override {
    const std::shared_ptr<Wire> wire = wire_;
    if (data.empty()) return 0;
    const std::size_t count = out(*wire).write(data);
    pass_on_cut(*wire);
    return count;
  }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    const std::shared_ptr<Wire> wire = wire_;
    if (data.empty()) return 0;
    const std::size_t count = out(*wire).try_write(data);
    pass_on_cut(*wire);
    return count;
  }

  [[nodiscard]] bool can_shutdown_write() const noexcept override { return half_close_; }
  void shutdown_write() override {
    if (!half_close_) fail(ENOTSUP, "shutdown_write");
    const std::shared_ptr<Wire> wire = wire_;
    out(*wire).end_writing(false);
  }
  void close() noexcept override {
    if (!is_open_.exchange(false, std::memory_order_acq_rel)) return;
    const std::shared_ptr<Wire> wire = wire_;
    out(*wire).end_writing(true);
    in(*wire).close_reading();
  }
  void abort() noexcept override {
    if (!is_open_.exchange(false, std::memory_order_acq_rel)) return;
    const std::shared_ptr<Wire> wire = wire_;
    out(*wire).reset(true);
    out(*wire).end_writing(true);
    in(*wire).reset(true);
    in(*wire).close_reading();
  }
  [[nodiscard]] bool is_open() const noexcept override { return is_open_.load(std::memory_order_acquire); }
  [[nodiscard]] int native_handle() const noexcept override { return -1; }

 private:
  Pipe& out(Wire& wire) const noexcept { return is_first_ ? wire.forth : wire.back; }
  Pipe& in(Wire& wire) const noexcept { return is_first_ ? wire.back : wire.forth; }
  // A cut takes the other direction with it.
  void pass_on_cut(Wire& wire) const {
    if (out(wire).is_cut()) in(wire).reset(false);
  }

  const std::shared_ptr<Wire> wire_;
  const bool is_first_;
  const bool half_close_;
  std::atomic<bool> is_open_{true};  // the exchange decides which of two closes it is
};

}  // namespace

StreamPair make_stream_pair(StreamPairOptions options) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("make_stream_pair: ") + what);
  };
  require(options.latency >= Duration::zero(), "latency must not be negative");
  require(options.capacity > 0 && options.max_read > 0 && options.max_write > 0,
          "capacity, max_read and max_write must be at least 1");
  auto wire = std::make_shared<Wire>(options);
  if (options.cut_first_after == 0 || options.cut_second_after == 0) {
    wire->forth.reset(false);
    wire->back.reset(false);
  }
  return {std::make_unique<End>(wire, true, options.half_close),
          std::make_unique<End>(wire, false, options.half_close)};
}

}  // namespace fibrio
