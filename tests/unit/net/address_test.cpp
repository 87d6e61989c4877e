#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>

#include "fibrio/sockets.hpp"
#include "support/catch.hpp"

using fibrio::Address;

namespace {

Address unix_address(const std::string& path, bool with_zero) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const std::size_t length = offsetof(sockaddr_un, sun_path) + path.size() + (with_zero ? 1 : 0);
  return Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(length));
}

}  // namespace

TEST_CASE("Address is 0.0.0.0:0 by default", "[address]") {
  const Address address;
  CHECK(address.family() == AF_INET);
  CHECK(address.port() == 0);
  CHECK(address.to_string() == "0.0.0.0:0");
  CHECK(address.size() == sizeof(sockaddr_in));
}

TEST_CASE("Address parses IPv4 literals", "[address]") {
  const Address address = Address::parse("127.0.0.1", 8080);
  CHECK(address.family() == AF_INET);
  CHECK(address.host() == "127.0.0.1");
  CHECK(address.port() == 8080);
  CHECK(address.to_string() == "127.0.0.1:8080");
  const auto* raw = reinterpret_cast<const sockaddr_in*>(address.data());
  CHECK(raw->sin_port == htons(8080));
  CHECK(raw->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
}

TEST_CASE("Address parses IPv6 literals and prints them in the short form", "[address]") {
  CHECK(Address::parse("::1", 80).to_string() == "[::1]:80");
  CHECK(Address::parse("::", 65535).to_string() == "[::]:65535");
  CHECK(Address::parse("2001:0DB8:0:0:0:0:0:1", 0).host() == "2001:db8::1");
  CHECK(Address::parse("::ffff:1.2.3.4", 1).to_string() == "[::ffff:1.2.3.4]:1");
  CHECK(Address::parse("::1", 80).family() == AF_INET6);
  CHECK(Address::parse("::1", 80).size() == sizeof(sockaddr_in6));
}

TEST_CASE("Address keeps the scope of an IPv6 address", "[address]") {
  const unsigned loopback = ::if_nametoindex("lo");
  if (loopback != 0) {
    const Address named = Address::parse("fe80::1%lo", 80);
    CHECK(reinterpret_cast<const sockaddr_in6*>(named.data())->sin6_scope_id == loopback);
    CHECK(named.to_string() == "[fe80::1%lo]:80");
    CHECK(named == Address::parse("fe80::1%" + std::to_string(loopback), 80));
  }
  const Address numbered = Address::parse("fe80::1%4000000", 80);  // no interface has it: it stays a number
  CHECK(numbered.host() == "fe80::1%4000000");
  CHECK_FALSE(numbered == Address::parse("fe80::1", 80));
}

TEST_CASE("Address refuses what is no literal and says so", "[address]") {
  for (const char* bad : {"",
                          " ",
                          "localhost",
                          "1",
                          "1.2.3",
                          "1.2.3.4.5",
                          "256.0.0.1",
                          "1.2.3.4 ",
                          " 1.2.3.4",
                          "0x7f.1",
                          "127.0.0.1:80",
                          "[::1]",
                          ":::",
                          "1::2::3",
                          "12345::",
                          "::1%",
                          "::1%no-such-if",
                          "::1%0",
                          "%lo",
                          "1.2.3.4%lo",
                          "::1%-1",
                          "::1%99999999999"}) {
    INFO(bad);
    CHECK_THROWS_AS(Address::parse(bad, 1), std::invalid_argument);
  }
  CHECK_THROWS_AS(Address::parse(std::string("::1\0x", 5), 1), std::invalid_argument);
  CHECK_THROWS_AS(Address::parse(std::string("1.2.3.4\0", 8), 1), std::invalid_argument);
  CHECK_THROWS_AS(Address::parse(std::string(10000, '1'), 1), std::invalid_argument);
  try {
    (void)Address::parse("localhost", 1);
  } catch (const std::invalid_argument& error) {
    CHECK(std::string(error.what()).find("\"localhost\" is no IPv4 or IPv6 literal") != std::string::npos);
  }
}

TEST_CASE("Address comes back from its own sockaddr", "[address]") {
  for (const Address& address : {Address(), Address::parse("1.2.3.4", 5), Address::parse("fe80::1%7", 6)}) {
    const Address copy = Address::from_sockaddr(address.data(), address.size());
    CHECK(copy == address);
    CHECK(copy.size() == address.size());
    CHECK(copy.to_string() == address.to_string());
  }
  // accept and getsockname are given room for any address
  sockaddr_storage storage{};
  std::memcpy(&storage, Address::parse("1.2.3.4", 5).data(), sizeof(sockaddr_in));
  const Address cut = Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), sizeof storage);
  CHECK(cut.size() == sizeof(sockaddr_in));
}

TEST_CASE("Address refuses sockaddrs that are short, long or of another family", "[address]") {
  sockaddr_storage storage{};
  const auto* raw = reinterpret_cast<const sockaddr*>(&storage);
  CHECK_THROWS_AS(Address::from_sockaddr(nullptr, 16), std::invalid_argument);
  CHECK_THROWS_AS(Address::from_sockaddr(raw, 0), std::invalid_argument);
  CHECK_THROWS_AS(Address::from_sockaddr(raw, sizeof storage), std::invalid_argument);  // AF_UNSPEC
  storage.ss_family = AF_INET;
  CHECK_THROWS_AS(Address::from_sockaddr(raw, sizeof(sockaddr_in) - 1), std::invalid_argument);
  storage.ss_family = AF_INET6;
  CHECK_THROWS_AS(Address::from_sockaddr(raw, sizeof(sockaddr_in)), std::invalid_argument);
  storage.ss_family = AF_NETLINK;
  CHECK_THROWS_AS(Address::from_sockaddr(raw, sizeof storage), std::invalid_argument);
  storage.ss_family = AF_UNIX;
  CHECK_THROWS_AS(Address::from_sockaddr(raw, sizeof(sockaddr_un) + 1), std::invalid_argument);
}

TEST_CASE("Address shows Unix paths, abstract and unnamed sockets", "[address]") {
  const Address path = unix_address("/run/app.sock", true);
  CHECK(path.family() == AF_UNIX);
  CHECK(path.port() == 0);
  CHECK(path.host() == "/run/app.sock");
  CHECK(path.to_string() == "unix:/run/app.sock");
  CHECK(path == unix_address("/run/app.sock", false));
  CHECK_FALSE(path == unix_address("/run/app.sock2", true));
  CHECK(unix_address(std::string("\0abstract", 9), false).to_string() == "unix:@abstract");
  CHECK(unix_address("", false).to_string() == "unix:(unnamed)");
  CHECK(unix_address(std::string(sizeof(sockaddr_un{}.sun_path), 'x'), false).host().size() == 108);
}

TEST_CASE("Address equality looks at family, host, port and scope", "[address]") {
  CHECK(Address::parse("1.2.3.4", 5) == Address::parse("1.2.3.4", 5));
  CHECK_FALSE(Address::parse("1.2.3.4", 5) == Address::parse("1.2.3.4", 6));
  CHECK_FALSE(Address::parse("1.2.3.4", 5) == Address::parse("1.2.3.5", 5));
  CHECK_FALSE(Address::parse("0.0.0.0", 5) == Address::parse("::", 5));
  CHECK(Address::parse("::1", 5) == Address::parse("0:0:0:0:0:0:0:1", 5));
  sockaddr_in6 labelled{};
  std::memcpy(&labelled, Address::parse("::1", 5).data(), sizeof labelled);
  labelled.sin6_flowinfo = 99;
  CHECK(Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&labelled), sizeof labelled) ==
        Address::parse("::1", 5));
}
