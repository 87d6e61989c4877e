#include "chaos/proxy.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

namespace fibrio::chaos {

namespace {

constexpr std::size_t kReadStep = 16 * 1024;
// So little is buffered in the proxy that a stall is felt by who sends.
constexpr std::size_t kHighWater = 16 * 1024;
// How often others may run after a byte that goes alone, so that it is read alone.
constexpr int kYieldsPerByte = 2;

}  // namespace

ProxyCounts& ProxyCounts::operator+=(const ProxyCounts& more) {
  connections += more.connections;
  bytes += more.bytes;
  for (std::size_t i = 0; i < kFaults; ++i) faults[i] += more.faults[i];
  return *this;
}

std::string ProxyCounts::text() const {
  std::string text = std::to_string(connections) + " connections, " + std::to_string(bytes) + " bytes";
  for (std::size_t i = 0; i < kFaults; ++i) {
    text += ", " + std::to_string(faults[i]) + " " + name_of(static_cast<Fault>(i));
  }
  return text;
}

struct Proxy::Link {
  struct Side {
    StreamReader& reader;
    StreamWriter& writer;
  };
  std::uint64_t number;
  Side client;
  Side server;

  [[nodiscard]] Side& sender(Direction direction) { return direction == Direction::kUp ? client : server; }
  [[nodiscard]] Side& receiver(Direction direction) { return direction == Direction::kUp ? server : client; }
};

Proxy::Proxy(std::uint16_t target, PlanOptions options)
    : target_(target),
      options_(options),
      server_(start_server([this](StreamReader& reader, StreamWriter& writer) { serve(reader, writer); },
                           "127.0.0.1", 0, {.backlog = 4096})) {}

ProxyCounts Proxy::counts() const {
  ProxyCounts counts;
  counts.connections = connections_.load(std::memory_order_relaxed);
  counts.bytes = bytes_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < kFaults; ++i) counts.faults[i] = faults_[i].load(std::memory_order_relaxed);
  return counts;
}

void Proxy::wait_closed() {
  server_.close();
  server_.wait_closed();
  handlers_.wait_until_none();
}

void Proxy::serve(StreamReader& reader, StreamWriter& writer) {
  const Handlers::Running running = handlers_.begin();
  const std::uint64_t number = connections_.fetch_add(1, std::memory_order_relaxed);
  if (is_refused(options_, number)) {
    count(Fault::kRefuse);
    writer.abort();
    return;
  }
  try {
    Streams server = open_connection("127.0.0.1", target_);
    for (StreamWriter* one : {&writer, &server.second}) one->set_write_buffer_limits(kHighWater);
    Link link{number, {reader, writer}, {server.first, server.second}};
    auto down = create_task([this, &link] { pump(link, Direction::kDown); });
    pump(link, Direction::kUp);
    await(down);
    for (StreamWriter* one : {&writer, &server.second}) {
      one->close();
      try {
        one->wait_closed();
      } catch (const std::system_error&) {
      }
    }
  } catch (const std::system_error&) {
    writer.abort();  // the target is not there
  }
}

void Proxy::pump(Link& link, Direction direction) {
  StreamReader& from = link.sender(direction).reader;
  StreamWriter& to = link.receiver(direction).writer;
  Plan plan(options_, link.number, direction);
  std::uint64_t at = 0;
  std::uint64_t split_until = 0;
  bool corrupts_next = false;
  // What comes behind the byte that was sent last. False: the direction is over.
  const auto disturb = [&] {
    while (plan.next().at == at) {
      const Plan::Step step = plan.next();
      if (step.fault == Fault::kSplit) split_until = at + step.bytes;
      if (step.fault == Fault::kCorrupt) corrupts_next = true;
      if (!apply(step, link, direction)) return false;
      plan.advance();
    }
    return true;
  };
  try {
    if (!disturb()) return;
    for (std::string data; !(data = from.read(kReadStep)).empty();) {
      for (std::size_t begin = 0; begin < data.size();) {
        if (std::exchange(corrupts_next, false)) data[begin] ^= 1;
        const bool is_split = at < split_until;
        const std::uint64_t until = is_split ? std::min(split_until, plan.next().at) : plan.next().at;
        const std::size_t size = std::min<std::uint64_t>(data.size() - begin, until - at);
        send(to, std::string_view(data).substr(begin, size), is_split);
        begin += size;
        at += size;
        if (!disturb()) return;
      }
    }
    to.write_eof();
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::operation_canceled) return;  // the other direction has closed both
    // One side was reset: so is the other one.
    link.client.writer.abort();
    link.server.writer.abort();
  }
}

void Proxy::send(StreamWriter& to, std::string_view data, bool is_split) {
  bytes_.fetch_add(data.size(), std::memory_order_relaxed);
  if (!is_split) {
    to.write(data);
    return to.drain();
  }
  for (const char& byte : data) {
    to.write(std::string_view(&byte, 1));
    to.drain();
    for (int i = 0; i < kYieldsPerByte; ++i) fibrio::yield();
  }
}

// False: the direction is over.
bool Proxy::apply(const Plan::Step& step, Link& link, Direction direction) {
  count(step.fault);
  StreamWriter& sender = link.sender(direction).writer;
  StreamWriter& receiver = link.receiver(direction).writer;
  switch (step.fault) {
    case Fault::kDelay:
    case Fault::kStall:
      fibrio::sleep(step.pause);
      return true;
    case Fault::kSplit:
    case Fault::kCorrupt:
      return true;
    case Fault::kHalfClose:
      receiver.write_eof();
      while (!link.sender(direction).reader.read(kReadStep).empty()) {
      }
      return false;
    case Fault::kClose:
      receiver.close();
      sender.close();
      return false;
    case Fault::kReset:
      receiver.abort();
      sender.abort();
      return false;
    case Fault::kResetReceiver:
      receiver.abort();
      sender.close();
      return false;
    case Fault::kResetSender:
      receiver.close();
      sender.abort();
      return false;
    case Fault::kRefuse:
      break;
  }
  return false;
}

}  // namespace fibrio::chaos
