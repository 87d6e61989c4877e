// What: a connection that has left HTTP behind: first what was received already, then the stream itself.
// Threads: as the stream.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "fibrio/byte_stream.hpp"

namespace fibrio::http {

// Whether it is a WebSocketError, or, if `has_failed` (the stream), a std::system_error, or a group of
// nothing else: then it is the peer's affair.
[[nodiscard]] bool is_peers_affair(const std::exception_ptr& exception, bool has_failed);

class UpgradedStream final : public ByteStream {
 public:
  UpgradedStream(ByteStream& stream, std::span<const char> received)
      : stream_(stream), received_(received.begin(), received.end()) {}
  UpgradedStream(std::shared_ptr<ByteStream> stream, std::span<const char> received)
      : owned_(std::move(stream)), stream_(*owned_), received_(received.begin(), received.end()) {}

  std::size_t read_some(std::span<std::byte> buffer) override {
    return at_ < received_.size() ? take(buffer) : watch([&] { return stream_.read_some(buffer); });
  }
  std::optional<std::size_t> try_read_some(std::span<std::byte> buffer) override {
    if (at_ < received_.size()) return take(buffer);
    return watch([&] { return stream_.try_read_some(buffer); });
  }
  [[nodiscard]] bool has_buffered_input() const override {
    return at_ < received_.size() || stream_.has_buffered_input();
  }
  std::size_t write_some(std::span<const std::byte> data) override {
    return watch([&] { return stream_.write_some(data); });
  }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    return watch([&] { return stream_.try_write_some(data); });
  }
  void write_all(std::span<const std::byte> data) override {
    watch([&] { stream_.write_all(data); });
  }
  void write_all(std::span<const std::byte> first, std::span<const std::byte> second) override {
    watch([&] { stream_.write_all(first, second); });
  }
  std::uint64_t send_file(int file, std::uint64_t offset, std::uint64_t count) override {
    return watch([&] { return stream_.send_file(file, offset, count); });
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return stream_.can_shutdown_write(); }
  void shutdown_write() override { stream_.shutdown_write(); }
  void end_output() override {
    watch([&] { stream_.end_output(); });
  }
  [[nodiscard]] bool has_unsent() const noexcept override { return stream_.has_unsent(); }
  [[nodiscard]] Duration close_limit() const noexcept override { return stream_.close_limit(); }
  void close() noexcept override { stream_.close(); }
  void abort() noexcept override { stream_.abort(); }
  [[nodiscard]] bool is_open() const noexcept override { return stream_.is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return stream_.native_handle(); }
  [[nodiscard]] Address local_address() const override { return stream_.local_address(); }
  [[nodiscard]] Address peer_address() const override { return stream_.peer_address(); }

  // True once an operation of it threw: the peer has gone.
  [[nodiscard]] bool has_failed() const noexcept { return has_failed_.load(std::memory_order_relaxed); }

 private:
  std::size_t take(std::span<std::byte> buffer) {
    const std::size_t count = std::min(buffer.size(), received_.size() - at_);
    std::memcpy(buffer.data(), received_.data() + at_, count);
    at_ += count;
    return count;
  }
  template <class Call>
  std::invoke_result_t<Call> watch(Call&& call) {
    try {
      return call();
    } catch (const std::system_error&) {
      has_failed_.store(true, std::memory_order_relaxed);
      throw;
    }
  }

  const std::shared_ptr<ByteStream> owned_;
  ByteStream& stream_;
  std::string received_;
  std::size_t at_ = 0;
  std::atomic<bool> has_failed_{false};  // a flag of its own: reader and writers set it
};

}  // namespace fibrio::http
