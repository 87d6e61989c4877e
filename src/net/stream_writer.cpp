// What: StreamWriter, and the writing half of StreamCore. See stream_core.hpp.

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/tasks.hpp"
#include "net/socket.hpp"
#include "net/stream_core.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/budget.hpp"
#include "task/loop_services.hpp"

namespace fibrio {

namespace detail {

namespace {

void report_here(const char* message, const std::exception_ptr& error) noexcept {
  if (Worker* worker = this_worker()) report_exception(worker->scheduler, message, error, AnyFuture());
}

// What is expected of a network is not reported: who drains or reads gets it.
bool is_system_error(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error&) {
    return true;
  } catch (...) {
    return false;
  }
}

void complete(const std::vector<Future<>>& waiters, const std::exception_ptr& error) {
  for (Future<> waiter : waiters) {
    // A waiter that was cancelled meanwhile has gone.
    static_cast<void>(error == nullptr ? waiter.try_set_result() : waiter.try_set_exception(error));
  }
}

// For what waits for the stream later: a CancelledError is of the task that was cancelled alone.
std::exception_ptr cancelled_error(const char* what) {
  return std::make_exception_ptr(
      std::system_error(ECANCELED, std::system_category(), std::string(what) + " was cancelled"));
}

}  // namespace

class StreamCore::Flusher {
 public:
  explicit Flusher(std::shared_ptr<StreamCore> core) noexcept : core_(std::move(core)) {}
  Flusher(Flusher&&) noexcept = default;
  Flusher& operator=(Flusher&&) = delete;
  ~Flusher() {
    if (core_ != nullptr) core_->stop_flush({});
  }
  void operator()() { std::exchange(core_, nullptr)->flush(); }

 private:
  std::shared_ptr<StreamCore> core_;
};

void StreamCore::write(std::span<const std::byte> data) {
  bool report = false;
  std::exception_ptr failed;
  {
    const std::lock_guard guard(lock_);
    if (has_write_eof_) throw RuntimeError("StreamWriter::write after write_eof");
    if (data.empty()) return;
    if (is_closing_) {
      constexpr int kReportAt = 5;  // asyncio's
      report = ++dropped_writes_ == kReportAt;
    } else {
      try {
        // Without a stream: it is being replaced, and what is written meanwhile goes over the new one.
        if (pending_.empty() && !is_flushing_ && stream_ != nullptr) send_now_locked(data);
      } catch (...) {
        failed = std::current_exception();
      }
      if (data.empty()) return;
      if (failed == nullptr) {
        pending_.append(reinterpret_cast<const char*>(data.data()), data.size());
        if (to_be_sent_locked() > limits_.high) is_paused_ = true;
      }
    }
  }
  if (report) report_here("StreamWriter: several writes to a closed connection were dropped", nullptr);
  if (failed != nullptr) {
    lose_unseen(failed);
  } else {
    start_flusher();
  }
}

void StreamCore::send_now_locked(std::span<const std::byte>& data) {
  while (!data.empty()) {
    const std::size_t count = stream_->try_write_some(data);
    if (count == 0) return;
    data = data.subspan(count);
  }
}

void StreamCore::start_flusher() {
  {
    const std::lock_guard guard(lock_);
    if (is_flushing_ || stream_ == nullptr || (pending_.empty() && !is_closing_)) return;
    is_flushing_ = true;
  }
  static_cast<void>(fibrio::spawn(Flusher(shared_from_this())));
}

void StreamCore::flush() {
  std::string chunk;
  std::string_view rest;
  try {
    while (take_chunk(chunk)) {
      for (rest = chunk; !rest.empty();) {
        rest.remove_prefix(stream_->write_some(std::as_bytes(std::span(rest.data(), rest.size()))));
        std::vector<Future<>> resumed;
        {
          const std::lock_guard guard(lock_);
          sending_ = rest.size();
          resumed = resume_locked();
        }
        complete(resumed, nullptr);
      }
    }
  } catch (const CancelledError&) {
    stop_flush(rest);
    throw;
  } catch (const KeyboardInterrupt&) {
    stop_flush(rest);
    throw;
  } catch (...) {
    lose_unseen(std::current_exception());
  }
}

// False: all is sent; the flusher, which is none any more, only does what was to be done after that.
bool StreamCore::take_chunk(std::string& chunk) {
  bool shuts_down = false;
  bool closes = false;
  {
    const std::lock_guard guard(lock_);
    if (is_lost_) return false;
    if (!pending_.empty()) {
      chunk.clear();
      chunk.swap(pending_);
      sending_ = chunk.size();
      return true;
    }
    is_flushing_ = false;
    shuts_down = has_write_eof_;
    closes = is_closing_;
  }
  if (shuts_down) stream_->shutdown_write();
  if (!closes) return false;
  if (stream_->has_unsent()) stream_->end_output();
  lose(nullptr, false);
  return false;
}

void StreamCore::stop_flush(std::string_view unsent) noexcept {
  std::vector<Future<>> waiters;
  bool closes = false;
  {
    const std::lock_guard guard(lock_);
    if (is_lost_) return;
    is_flushing_ = false;
    sending_ = 0;
    pending_.insert(0, unsent);
    closes = is_closing_;
    if (!closes) waiters.swap(drain_waiters_);
  }
  complete(waiters, nullptr);
  if (closes) lose(cancelled_error("sending the rest of a closed stream"), true);
}

std::vector<Future<>> StreamCore::resume_locked() noexcept {
  std::vector<Future<>> waiters;
  if (!is_paused_ || to_be_sent_locked() > limits_.low) return waiters;
  is_paused_ = false;
  waiters.swap(drain_waiters_);
  return waiters;
}

void StreamCore::drain() {
  if (const std::exception_ptr error = read_error()) std::rethrow_exception(error);
  spend_budget();  // a peer that reads as fast as we write never makes us wait
  if (is_closing()) yield();
  bool is_unattended = false;  // a flusher was cancelled, and left something
  for (;;) {
    Future<> resumed;
    {
      const std::lock_guard guard(lock_);
      if (is_lost_)
        throw std::system_error(ECONNRESET, std::system_category(), "drain: the stream is closed");
      is_unattended = !is_flushing_ && !pending_.empty();
      if (!is_paused_) break;
      resumed = get_running_loop().create_future();
      drain_waiters_.push_back(resumed);
    }
    start_flusher();
    wait_in(drain_waiters_, resumed);
    const std::lock_guard guard(lock_);
    if (is_lost_) return;  // closed on purpose, while we waited: asyncio tells the next drain
  }
  if (is_unattended) start_flusher();
}

void StreamCore::wait_in(std::vector<Future<>>& waiters, const Future<>& waiter) {
  try {
    await(waiter);
  } catch (...) {
    const std::lock_guard guard(lock_);
    std::erase(waiters, waiter);
    throw;
  }
}

void StreamCore::write_eof() {
  {
    const std::lock_guard guard(lock_);
    if (is_closing_ || has_write_eof_) return;
    if (stream_ == nullptr) throw RuntimeError("write_eof while the stream is being replaced");
    // A stream that cannot says so now, not to the flusher.
    if (stream_->can_shutdown_write()) {
      has_write_eof_ = true;
      if (is_flushing_ || !pending_.empty()) return;
    }
  }
  stream_->shutdown_write();
}

void StreamCore::close() noexcept {
  bool is_sent = false;
  {
    const std::lock_guard guard(lock_);
    if (is_closing_) return;
    is_closing_ = true;
    is_sent = !is_flushing_ && pending_.empty() && (stream_ == nullptr || !stream_->has_unsent());
  }
  if (is_sent) {
    lose(nullptr, false);
    return;
  }
  try {
    limit_close();
    start_flusher();
  } catch (...) {  // outside of a loop there is nobody to send the rest: the flusher has said so
  }
}

// A peer that takes nothing more would hold the connection for ever.
void StreamCore::limit_close() {
  Duration limit(-1);
  {
    const std::lock_guard guard(lock_);
    if (stream_ != nullptr) limit = stream_->close_limit();
  }
  if (limit < Duration::zero()) return;
  TimerHandle timer = get_running_loop().call_later(limit, [core = weak_from_this()] {
    if (const std::shared_ptr<StreamCore> self = core.lock()) {
      self->lose(
          std::make_exception_ptr(TimeoutError("closing a stream: the peer took too long to read the rest")),
          true);
    }
  });
  {
    const std::lock_guard guard(lock_);
    if (!is_lost_) std::swap(close_limit_, timer);
  }
  timer.cancel();  // the one before, or of no use
}

void StreamCore::wait_closed() {
  Future<> closed;
  {
    const std::lock_guard guard(lock_);
    if (is_closed_) {
      if (error_ != nullptr) std::rethrow_exception(error_);
      return;
    }
    closed = get_running_loop().create_future();
    close_waiters_.push_back(closed);
  }
  wait_in(close_waiters_, closed);
}

// The end. `reset`: what the system has not sent yet is dropped too.
void StreamCore::lose(const std::exception_ptr& error, bool reset) noexcept {
  std::vector<Future<>> drains;
  std::vector<Future<>> closes;
  UniqueFunction<void()> on_lost;
  ByteStream* stream = nullptr;
  TimerHandle limit;
  {
    const std::lock_guard guard(lock_);
    if (is_lost_) return;
    is_lost_ = is_closing_ = true;
    is_paused_ = false;
    error_ = error;
    pending_ = {};
    sending_ = 0;
    drains.swap(drain_waiters_);
    on_lost = std::move(on_lost_);
    stream = stream_.get();  // it stays: replace_stream looks whether the connection is lost
    limit = std::move(close_limit_);
    if (error != nullptr) news_.error = error;
    news_.eof = true;
    has_news_.store(true, std::memory_order_release);
  }
  limit.cancel();
  if (stream != nullptr) reset ? stream->abort() : stream->close();
  {
    const std::lock_guard guard(lock_);
    is_closed_ = true;
    closes.swap(close_waiters_);
  }
  news_came_.set();
  complete(drains, error);
  complete(closes, error);
  if (on_lost) on_lost();
}

// By an error that nobody waits for: one that no network makes is reported.
void StreamCore::lose_unseen(const std::exception_ptr& error) noexcept {
  if (!is_system_error(error)) report_here("StreamWriter: writing to the stream failed", error);
  lose(error, false);
}

void StreamCore::replace_stream(const StreamUpgrade& upgrade) {
  const ReadTurn turn(*this, "replace_stream");
  {
    // All that was written, not only what is above the low mark.
    struct Limits {
      StreamCore& core;
      const StreamWriter::BufferLimits before = core.limits();
      ~Limits() { core.set_limits(before); }
    } limits{*this};
    set_limits({0, 0});
    drain();
  }
  std::unique_ptr<ByteStream> old;
  {
    const std::lock_guard guard(lock_);
    if (is_closing_ || has_write_eof_) throw RuntimeError("replace_stream: the writer is closing");
    old = std::move(stream_);
  }
  try {
    std::unique_ptr<ByteStream> fresh = upgrade(std::move(old), buffer_.take(buffer_.size()));
    if (fresh == nullptr) throw RuntimeError("replace_stream: there is no new stream");
    bool closes = false;
    {
      const std::lock_guard guard(lock_);
      if (is_lost_) fresh->close();
      stream_ = std::move(fresh);
      closes = is_closing_;
    }
    if (closes) limit_close();
    start_flusher();
  } catch (const CancelledError&) {
    lose(cancelled_error("replacing a stream"), true);
    throw;
  } catch (...) {
    lose(std::current_exception(), true);
    throw;
  }
}

bool StreamCore::is_closing() const {
  const std::lock_guard guard(lock_);
  return is_closing_;
}

std::size_t StreamCore::write_buffer_size() const {
  const std::lock_guard guard(lock_);
  return to_be_sent_locked();
}

void StreamCore::set_limits(StreamWriter::BufferLimits limits) {
  std::vector<Future<>> resumed;
  {
    const std::lock_guard guard(lock_);
    limits_ = limits;
    if (to_be_sent_locked() > limits_.high) is_paused_ = true;
    resumed = resume_locked();
  }
  complete(resumed, nullptr);
}

StreamWriter::BufferLimits StreamCore::limits() const {
  const std::lock_guard guard(lock_);
  return limits_;
}

Address StreamCore::address(Side side) const {
  const std::lock_guard guard(lock_);
  std::unique_ptr<Address>& known = addresses_[static_cast<std::size_t>(side)];
  if (known == nullptr && stream_ != nullptr) {
    try {
      known =
          std::make_unique<Address>(side == Side::kPeer ? stream_->peer_address() : stream_->local_address());
    } catch (const std::system_error&) {  // the connection is gone
    }
  }
  return known == nullptr ? Address() : *known;
}

void StreamCore::set_on_lost(UniqueFunction<void()> on_lost) {
  {
    const std::lock_guard guard(lock_);
    if (!is_lost_) {
      on_lost_ = std::move(on_lost);
      return;
    }
  }
  on_lost();
}

}  // namespace detail

using detail::StreamCore;

namespace {
std::unique_ptr<ByteStream> not_null(std::unique_ptr<ByteStream> stream) {
  if (stream == nullptr) throw std::invalid_argument("a StreamWriter needs a stream");
  return stream;
}
}  // namespace

Streams make_streams(std::unique_ptr<ByteStream> stream, std::size_t limit) {
  return detail::StreamCoreAccess::make_pair(
      std::make_shared<StreamCore>(not_null(std::move(stream)), limit));
}

StreamWriter::StreamWriter(std::unique_ptr<ByteStream> stream)
    : core_(std::make_shared<StreamCore>(not_null(std::move(stream)), kStreamLimit)) {}
StreamWriter::StreamWriter(std::shared_ptr<StreamCore> core) noexcept : core_(std::move(core)) {}
StreamWriter::StreamWriter(StreamWriter&&) noexcept = default;
StreamWriter& StreamWriter::operator=(StreamWriter&& other) noexcept {
  if (this != &other) {
    drop();
    core_ = std::move(other.core_);
  }
  return *this;
}
StreamWriter::~StreamWriter() { drop(); }

void StreamWriter::drop() noexcept {
  if (core_ == nullptr || core_->is_closing()) return;
  if (const detail::Worker* worker = detail::this_worker();
      worker != nullptr && get_running_loop().get_debug()) {
    detail::report_here("a StreamWriter was dropped without close()", nullptr);
  }
  core_->close();
}

void StreamWriter::write(std::span<const std::byte> data) { core_->write(data); }
void StreamWriter::drain() { core_->drain(); }
void StreamWriter::write_eof() { core_->write_eof(); }
bool StreamWriter::can_write_eof() const { return stream().can_shutdown_write(); }
void StreamWriter::close() noexcept { core_->close(); }
void StreamWriter::abort() noexcept { core_->abort(); }
bool StreamWriter::is_closing() const { return core_->is_closing(); }
void StreamWriter::wait_closed() { core_->wait_closed(); }
Address StreamWriter::peer_address() const { return core_->address(StreamCore::Side::kPeer); }
Address StreamWriter::local_address() const { return core_->address(StreamCore::Side::kLocal); }
int StreamWriter::native_handle() const noexcept {
  return core_->stream() == nullptr ? -1 : core_->stream()->native_handle();
}
ByteStream& StreamWriter::stream() const {
  if (core_->stream() == nullptr) throw RuntimeError("the stream is just being replaced");
  return *core_->stream();
}
std::size_t StreamWriter::write_buffer_size() const { return core_->write_buffer_size(); }
void StreamWriter::set_write_buffer_limits(std::optional<std::size_t> high, std::optional<std::size_t> low) {
  constexpr std::size_t kHigh = 64 * 1024;
  const std::size_t upper = high ? *high : (low ? 4 * *low : kHigh);
  const std::size_t lower = low ? *low : upper / 4;
  if (lower > upper) throw std::invalid_argument("set_write_buffer_limits: low is above high");
  core_->set_limits({lower, upper});
}
StreamWriter::BufferLimits StreamWriter::write_buffer_limits() const { return core_->limits(); }
void StreamWriter::replace_stream(const StreamUpgrade& upgrade) { core_->replace_stream(upgrade); }

}  // namespace fibrio
