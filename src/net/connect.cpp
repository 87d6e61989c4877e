// What: TcpStream::connect: one address, or a name with several ("happy eyeballs", RFC 8305).
//
// Threads: tasks only.
//
// Protocol: the addresses of a name, families taking turns, are the candidates of a staggered_race; one address
// is connected to without a race. The deadline is over all of it. Errors are kept in the order of the addresses.
//
// Rejected: racing the look-ups too (getaddrinfo asks for both families at once, and answers once).

#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "fibrio/errors.hpp"
#include "fibrio/sockets.hpp"
#include "fibrio/staggered.hpp"
#include "net/connect.hpp"
#include "net/socket_calls.hpp"
#include "net/stream_socket.hpp"
#include "structured/timeout_scope.hpp"

namespace fibrio {

namespace {

// Calls `body` with the time that the options allow.
template <class Body>
TcpStream within(const ConnectOptions& options, Body body) {
  std::optional<TimePoint> deadline;
  if (options.timeout >= Duration::zero()) deadline = detail::deadline_after(options.timeout);
  detail::TimeoutScope limit(deadline, "a timeout");
  try {
    return body();
  } catch (const CancelledError&) {
    if (limit.leave()) throw TimeoutError();
    throw;
  }
}

TcpStream connect_to(const Address& to, const ConnectOptions& options) {
  TcpStream stream = detail::SocketAccess::stream(detail::connect_socket(to, options.local_addresses));
  if (options.no_delay) stream.set_no_delay(true);
  return stream;
}

[[noreturn]] void throw_all(const std::string& host, bool as_group, std::vector<std::exception_ptr> errors) {
  const std::string what = "connecting to " + (host.empty() ? "\"\"" : host) + " failed";
  if (as_group) throw ExceptionGroup(what, std::move(errors));
  if (errors.size() == 1) std::rethrow_exception(errors.front());
  std::error_code code;
  std::string texts;
  for (const std::exception_ptr& each : errors) {
    try {
      std::rethrow_exception(each);
    } catch (const std::system_error& error) {  // all others come out here: they are not of the network
      if (!code) code = error.code();
      texts += (texts.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  throw std::system_error(code, what + " (" + texts + ")");
}

}  // namespace

TcpStream TcpStream::connect(const Address& address, ConnectOptions options) {
  return within(options, [&] { return connect_to(address, options); });
}

std::vector<Address> detail::take_turns(std::vector<Address> addresses, std::size_t first_count) {
  if (first_count == 0 || addresses.empty()) return addresses;
  std::vector<Address> turns[2];
  for (const Address& each : addresses)
    turns[each.family() == addresses.front().family() ? 0 : 1].push_back(each);
  std::vector<Address> ordered;
  auto first = turns[0].begin();
  auto other = turns[1].begin();
  for (std::size_t i = 1; i < first_count && first != turns[0].end(); ++i) ordered.push_back(*first++);
  while (first != turns[0].end() || other != turns[1].end()) {
    if (first != turns[0].end()) ordered.push_back(*first++);
    if (other != turns[1].end()) ordered.push_back(*other++);
  }
  return ordered;
}

TcpStream detail::connect_to_any(const std::string& host, std::vector<Address> addresses,
                                 const ConnectOptions& options) {
  if (addresses.size() == 1 && !options.all_errors) return connect_to(addresses.front(), options);
  std::optional<Duration> delay;
  if (options.happy_eyeballs_delay >= Duration::zero()) {
    delay = options.happy_eyeballs_delay;
    addresses = take_turns(std::move(addresses), options.interleave);
  }
  std::vector<std::function<TcpStream()>> ways;
  ways.reserve(addresses.size());
  for (const Address& address : addresses) {
    ways.emplace_back([&] { return connect_to(address, options); });
  }
  RaceResult<TcpStream> race = staggered_race(ways, delay);
  if (!race.value) throw_all(host, options.all_errors, std::move(race.exceptions));
  return std::move(*race.value);
}

TcpStream TcpStream::connect(const std::string& host, std::uint16_t port, ConnectOptions options) {
  return within(options, [&] {
    return detail::connect_to_any(host, getaddrinfo(host, port, options.family), options);
  });
}

}  // namespace fibrio
