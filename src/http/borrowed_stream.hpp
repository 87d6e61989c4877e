// What: a stream that stays somebody else's, under a server's connection, with the time limits that the sweeper
//   enforces on sockets (connection_table.hpp): a read that is late ends the reading, a write that is late fails.
// Threads: the connection's task.
#pragma once

#include <chrono>
#include <optional>
#include <system_error>

#include "fibrio/byte_stream.hpp"
#include "fibrio/fibrio.hpp"
#include "http/connection_table.hpp"

namespace fibrio::http {

class BorrowedStream final : public ByteStream {
 public:
  BorrowedStream(ByteStream& stream, ConnectionTable::Entry& entry, const ServerOptions& options)
      : stream_(stream), entry_(entry), options_(options) {}

  std::size_t read_some(std::span<std::byte> buffer) override {
    if (entry_.is_stopped()) return 0;
    const TimePoint end = deadline();
    try {
      return timeout_at(end, [&] { return stream_.read_some(buffer); });
    } catch (const TimeoutError&) {
      if (get_running_loop().time() < end) throw;  // of the stream itself
      entry_.mark_stopped();
      return 0;
    }
  }
  std::size_t write_some(std::span<const std::byte> data) override {
    phase_ = {};
    try {
      return timeout(options_.write_timeout, [&] { return stream_.write_some(data); });
    } catch (const TimeoutError&) {
      throw std::system_error(std::make_error_code(std::errc::timed_out),
                              "http: the peer does not take its answer");
    }
  }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    return stream_.try_write_some(data);
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return stream_.can_shutdown_write(); }
  void shutdown_write() override { stream_.shutdown_write(); }
  void end_output() override { stream_.end_output(); }
  [[nodiscard]] bool has_unsent() const noexcept override { return stream_.has_unsent(); }
  void close() noexcept override { stream_.close(); }
  void abort() noexcept override { stream_.abort(); }
  [[nodiscard]] bool is_open() const noexcept override { return stream_.is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return stream_.native_handle(); }
  [[nodiscard]] Address local_address() const override { return stream_.local_address(); }
  [[nodiscard]] Address peer_address() const override { return stream_.peer_address(); }

 private:
  using Phase = ConnectionTable::Phase;

  // A header and a body have one deadline however many reads they take.
  TimePoint deadline() {
    const Phase phase = entry_.phase();
    const bool goes_on = phase_ == phase && (phase == Phase::kHeader || phase == Phase::kBody);
    if (!goes_on) {
      const TimePoint now = get_running_loop().time();
      const Duration limit = ConnectionTable::limit_of(phase, options_);
      deadline_ = limit >= TimePoint::max() - now ? TimePoint::max() : now + limit;
    }
    phase_ = phase;
    return deadline_;
  }

  ByteStream& stream_;
  ConnectionTable::Entry& entry_;
  const ServerOptions& options_;
  std::optional<Phase> phase_;  // of the last read, unless something was written since
  TimePoint deadline_{};
};

}  // namespace fibrio::http
