// Where the fds of connections are registered: the workers share them.
#include <sys/socket.h>

#include <array>
#include <vector>

#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

TEST_CASE("Sockets that all wait first on one worker are spread over the workers", "[tcp]") {
  for (const std::size_t workers : {2, 4}) {
    on_loop({workers, false}, [workers] {
      constexpr std::size_t kSockets = 400;
      std::vector<TcpStream> streams;
      for (std::size_t i = 0; i < kSockets; ++i) {
        int ends[2];
        expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "a socketpair");
        streams.push_back(TcpStream::adopt(ends[0]));
        streams.push_back(TcpStream::adopt(ends[1]));
        // This task alone waits, so nobody takes work from its worker.
        std::array<std::byte, 1> byte{};
        try {
          timeout(100us, [&] { (void)streams[2 * i].read_some(byte); });
          expect(false, "a read without an end");
        } catch (const TimeoutError&) {
        }
      }
      for (const WorkerStats& worker : get_running_loop().stats().workers) {
        expect(worker.fds >= kSockets / workers / 2, "fds of a worker: " + std::to_string(worker.fds));
      }
    });
  }
}
