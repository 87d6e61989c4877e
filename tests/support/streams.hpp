// What: connections with readers and writers at both ends; what a call throws.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "fibrio/streams.hpp"
#include "support/net.hpp"

namespace fibrio::net_test {

inline void expect_text(const std::string& is, const std::string& wanted, const std::string& what) {
  if (is != wanted) throw ExpectationFailed(what + ": is \"" + is + "\", expected \"" + wanted + "\"");
}

// The E that `call` throws.
template <class E, class Call>
E thrown(Call&& call, const std::string& what) {
  try {
    call();
  } catch (const E& error) {
    return error;
  }
  throw ExpectationFailed(what + ": nothing was thrown");
}

struct StreamEnds {
  Streams client;
  Streams server;
};
inline StreamEnds connect_streams(std::size_t limit = kStreamLimit) {
  Ends ends = connect_ends();
  return {make_streams(std::move(ends.client), limit), make_streams(std::move(ends.server), limit)};
}
// One end with reader and writer, the other one raw.
struct RawStreams {
  RawPeer peer;
  StreamReader reader;
  StreamWriter writer;
};
inline RawStreams connect_raw_streams(std::size_t limit = kStreamLimit) {
  RawPair pair = connect_raw();
  auto [reader, writer] = make_streams(make_byte_stream(std::move(pair.stream)), limit);
  return {std::move(pair.peer), std::move(reader), std::move(writer)};
}

}  // namespace fibrio::net_test
