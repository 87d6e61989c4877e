// What: what StreamReader and StreamWriter share: the stream, what was read ahead, what is still to be sent.
//
// Threads: reading functions: one task at a time, which holds a ReadTurn; at_eof and buffered: that task, or any while
// there is none. All others: any.
//
// Protocol.
//  1. Reading: who holds the turn owns buffer_ and reads from the stream straight into it. What comes from
//     elsewhere (fed data, an error) lies in news_ until the reader takes it; has_news_ tells that it is there.
//  2. Writing: with nothing buffered and no flusher, write sends by itself, under the lock, what the system takes
//     at once. The rest goes to pending_, and a flusher (a task of its own) is started, the only one to write
//     from then on. It takes pending_ whole, and ends when that stays empty.
//  3. A flusher that is cancelled (the loop shuts down) puts back what it had, and wakes the drains, which start
//     another one if they are still there. If the writer is closing nobody else would: the connection is lost.
//  4. lose() is the end, once: closes the stream, drops what is to be sent, gives the reader its end or the error
//     and wakes everybody. close() leads there, after the flusher if there is one, or after the stream's close_limit.
//  5. stream_ changes in replace_stream only, when nobody is inside, under the lock. It is null from then to the
//     new one; what is written meanwhile waits in pending_.
//  Nobody is waked and no user code called under the lock; the stream's calls that do not wait may be.
//
// Rejected: a task that reads ahead, as asyncio's transport does (two switches and a copy per read; a connection
// that nobody reads would fill memory up to the limit); one future for all drains (cancelling one wait would end
// them all).
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fibrio/byte_stream.hpp"
#include "fibrio/detail/unique_function.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/futures.hpp"
#include "fibrio/locks.hpp"
#include "fibrio/streams.hpp"
#include "net/read_buffer.hpp"

namespace fibrio::detail {

class StreamCore : public std::enable_shared_from_this<StreamCore> {
 public:
  StreamCore(std::unique_ptr<ByteStream> stream, std::size_t limit);
  StreamCore(const StreamCore&) = delete;
  StreamCore& operator=(const StreamCore&) = delete;

  // --- reading (stream_reader.cpp)

  // The right to read; takes the news. Throws RuntimeError if somebody has it; the reader's error.
  class ReadTurn {
   public:
    ReadTurn(StreamCore& core, const char* call);
    ~ReadTurn();
    ReadTurn(const ReadTurn&) = delete;
    ReadTurn& operator=(const ReadTurn&) = delete;

   private:
    StreamCore& core_;
  };

  // Brings more into the buffer; false at the end of the stream. Waits.
  [[nodiscard]] bool fill();
  // StreamReader::read_some.
  [[nodiscard]] std::size_t read_some(std::span<std::byte> bytes);
  [[nodiscard]] ReadBuffer& buffer() noexcept { return buffer_; }
  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }

  struct Match {
    enum class Kind { kFound, kEnd, kFoundTooLate, kNotFound } kind;
    std::size_t start;  // of the separator; kNotFound: how much was searched in vain
    std::size_t end;
  };
  // Reads until one of the separators is in the buffer.
  [[nodiscard]] Match search(std::span<const std::string_view> separators);

  [[nodiscard]] bool at_eof() const;
  [[nodiscard]] std::size_t buffered() const;
  [[nodiscard]] std::exception_ptr read_error() const;
  void set_read_error(std::exception_ptr error);
  void feed(std::string_view data);
  void feed_eof();

  // --- writing (stream_writer.cpp)

  void write(std::span<const std::byte> data);
  void drain();
  void write_eof();
  void close() noexcept;
  void abort() noexcept { lose(nullptr, true); }
  void wait_closed();
  void replace_stream(const StreamUpgrade& upgrade);
  [[nodiscard]] bool is_closing() const;
  [[nodiscard]] std::size_t write_buffer_size() const;
  void set_limits(StreamWriter::BufferLimits limits);
  [[nodiscard]] StreamWriter::BufferLimits limits() const;

  [[nodiscard]] ByteStream* stream() const noexcept { return stream_.get(); }
  enum class Side { kPeer, kLocal };
  [[nodiscard]] Address address(Side side) const;

  // Called once when the connection is lost; at once if it is. For one server.
  void set_on_lost(UniqueFunction<void()> on_lost);

 private:
  struct News {  // for the reader
    std::string data;
    bool eof = false;
    std::exception_ptr error;  // stays
  };
  // The flusher's callable: also what never ran gives the flusher's place back.
  class Flusher;

  bool take_news();
  [[nodiscard]] std::size_t read_directly(std::span<std::byte> room);
  [[nodiscard]] std::exception_ptr read_failed();

  void send_now_locked(std::span<const std::byte>& data);
  void limit_close();
  void start_flusher();
  void flush();
  [[nodiscard]] bool take_chunk(std::string& chunk);
  void stop_flush(std::string_view unsent) noexcept;
  [[nodiscard]] std::size_t to_be_sent_locked() const noexcept { return pending_.size() + sending_; }
  [[nodiscard]] std::vector<Future<>> resume_locked() noexcept;
  void wait_in(std::vector<Future<>>& waiters, const Future<>& waiter);
  void lose(const std::exception_ptr& error, bool reset) noexcept;
  void lose_unseen(const std::exception_ptr& error) noexcept;

  std::unique_ptr<ByteStream> stream_;
  const std::size_t limit_;

  std::atomic<bool> is_reading_{false};  // exchange acquire / store release: from reader to reader
  ReadBuffer buffer_;                    // the reader's, as is eof_
  bool eof_ = false;

  std::atomic<bool> has_news_{false};  // release: who puts news; acquire: the reader
  Event news_came_;

  mutable std::mutex lock_;  // guards what follows
  News news_;
  std::string pending_;
  std::size_t sending_ = 0;  // what the flusher has taken and not sent yet
  bool is_flushing_ = false;
  bool is_paused_ = false;  // above the high mark, and not yet at the low one
  bool has_write_eof_ = false;
  bool is_closing_ = false;
  bool is_lost_ = false;
  bool is_closed_ = false;    // lost, and the stream under it was closed
  std::exception_ptr error_;  // that the connection was lost by
  int dropped_writes_ = 0;
  StreamWriter::BufferLimits limits_{16 * 1024, 64 * 1024};
  std::vector<Future<>> drain_waiters_;
  std::vector<Future<>> close_waiters_;
  TimerHandle close_limit_;
  UniqueFunction<void()> on_lost_;
  mutable std::unique_ptr<Address> addresses_[2];  // as far as they were asked for
};

struct StreamCoreAccess {
  static Streams make_pair(std::shared_ptr<StreamCore> core) {
    StreamReader reader(core);
    return {std::move(reader), StreamWriter(std::move(core))};
  }
  static const std::shared_ptr<StreamCore>& of(const StreamWriter& writer) noexcept { return writer.core_; }
};

}  // namespace fibrio::detail
