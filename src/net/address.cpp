// What: Address: a value around sockaddr_storage, to and from text.
// Threads: none of its own.
// Invariant: length_ is what the kernel gave or what the family needs, never more than storage_; bytes behind
//   it are zero. Comparison looks at what identifies an address (family, host, port, scope; a Unix path's
//   bytes), never at padding or the IPv6 flow label.
// Rejected: getnameinfo(NI_NUMERICHOST) for printing (it may look at files for scope names, and fails where
//   inet_ntop cannot); inet_aton ("1" and "0x7f.1" are not addresses to a user).

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "fibrio/sockets.hpp"

namespace fibrio {
namespace {

constexpr std::size_t kPathOffset = offsetof(sockaddr_un, sun_path);

// A copy, because reading the storage through another type is not ours to do (strict aliasing). Costs
// nothing.
template <class SockAddr>
SockAddr as(const sockaddr_storage& storage) {
  SockAddr address;
  std::memcpy(&address, &storage, sizeof address);
  return address;
}

// The scope of "fe80::1%eth0" or "fe80::1%2"; 0 is no interface.
std::uint32_t parse_scope(const std::string& text) {
  if (const unsigned index = ::if_nametoindex(text.c_str())) return index;
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() ? number : 0;
}

std::string scope_text(std::uint32_t scope) {
  char name[IF_NAMESIZE];
  return ::if_indextoname(scope, name) != nullptr ? name : std::to_string(scope);
}

// The bytes of a Unix path without its final zero; an abstract name (first byte zero) has them all.
std::string_view path_bytes(const sockaddr_storage& storage, socklen_t length) {
  if (length <= kPathOffset) return {};
  const std::string_view bytes(reinterpret_cast<const char*>(&storage) + kPathOffset, length - kPathOffset);
  return bytes.front() == '\0' ? bytes : bytes.substr(0, bytes.find('\0'));
}

}  // namespace

Address::Address() noexcept : length_(sizeof(sockaddr_in)) { storage_.ss_family = AF_INET; }

Address Address::parse(const std::string& ip, std::uint16_t port) {
  // A zero inside would end the text for inet_pton: "::1\0.example" is no literal.
  const bool is_text = ip.find('\0') == std::string::npos;
  sockaddr_in v4{};
  if (is_text && ::inet_pton(AF_INET, ip.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    return from_sockaddr(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  }
  const std::size_t percent = ip.find('%');
  const std::uint32_t scope = percent == std::string::npos ? 0 : parse_scope(ip.substr(percent + 1));
  const bool scope_is_good = percent == std::string::npos || scope != 0;
  sockaddr_in6 v6{};
  if (is_text && scope_is_good && ::inet_pton(AF_INET6, ip.substr(0, percent).c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    v6.sin6_scope_id = scope;
    return from_sockaddr(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
  }
  throw std::invalid_argument("Address::parse: \"" + ip + "\" is no IPv4 or IPv6 literal" +
                              (scope_is_good ? "" : " (no such network interface)") +
                              "; use getaddrinfo for names");
}

Address Address::from_path(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw std::invalid_argument("Address::from_path: a path must have 1 to 107 bytes, not " +
                                std::to_string(path.size()));
  }
  const bool is_abstract = path.front() == '\0';
  if (!is_abstract && path.find('\0') != std::string_view::npos) {
    throw std::invalid_argument("Address::from_path: a path has no zero inside");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const std::size_t length = kPathOffset + path.size() + (is_abstract ? 0 : 1);
  return from_sockaddr(reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(length));
}

Address Address::from_sockaddr(const sockaddr* address, socklen_t length) {
  std::size_t needed = kPathOffset;
  sa_family_t family = AF_UNSPEC;
  if (address != nullptr && length >= sizeof family) {
    std::memcpy(&family, reinterpret_cast<const char*>(address) + offsetof(sockaddr, sa_family),
                sizeof family);
  }
  if (family == AF_INET) needed = sizeof(sockaddr_in);
  if (family == AF_INET6) needed = sizeof(sockaddr_in6);
  const bool is_known = family == AF_INET || family == AF_INET6 || family == AF_UNIX;
  if (!is_known || length < needed || (family == AF_UNIX && length > sizeof(sockaddr_un))) {
    throw std::invalid_argument("Address::from_sockaddr: family " + std::to_string(family) + " with " +
                                std::to_string(length) + " bytes is no IPv4, IPv6 or Unix address");
  }
  if (family != AF_UNIX) length = static_cast<socklen_t>(needed);  // what lies behind is not the address
  Address result;
  std::memcpy(&result.storage_, address, length);
  result.length_ = length;
  return result;
}

int Address::family() const noexcept { return storage_.ss_family; }

std::uint16_t Address::port() const noexcept {
  if (family() == AF_INET) return ntohs(as<sockaddr_in>(storage_).sin_port);
  if (family() == AF_INET6) return ntohs(as<sockaddr_in6>(storage_).sin6_port);
  return 0;
}

std::string Address::host() const {
  char buffer[INET6_ADDRSTRLEN] = {};
  if (family() == AF_INET) {
    const auto v4 = as<sockaddr_in>(storage_);
    ::inet_ntop(AF_INET, &v4.sin_addr, buffer, sizeof buffer);
    return buffer;
  }
  if (family() == AF_INET6) {
    const auto v6 = as<sockaddr_in6>(storage_);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, buffer, sizeof buffer);
    return v6.sin6_scope_id == 0 ? buffer : std::string(buffer) + "%" + scope_text(v6.sin6_scope_id);
  }
  // An abstract name is shown as everybody shows it: zeros as '@'.
  std::string path(path_bytes(storage_, length_));
  std::replace(path.begin(), path.end(), '\0', '@');
  return path;
}

std::string Address::to_string() const {
  const std::string shown = host();
  if (family() == AF_INET6) return "[" + shown + "]:" + std::to_string(port());
  if (family() == AF_INET) return shown + ":" + std::to_string(port());
  return shown.empty() ? "unix:(unnamed)" : "unix:" + shown;
}

const sockaddr* Address::data() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }

bool operator==(const Address& a, const Address& b) noexcept {
  if (a.family() != b.family()) return false;
  if (a.family() == AF_INET) {
    return a.port() == b.port() &&
           as<sockaddr_in>(a.storage_).sin_addr.s_addr == as<sockaddr_in>(b.storage_).sin_addr.s_addr;
  }
  if (a.family() == AF_INET6) {
    const auto left = as<sockaddr_in6>(a.storage_);
    const auto right = as<sockaddr_in6>(b.storage_);
    return a.port() == b.port() && left.sin6_scope_id == right.sin6_scope_id &&
           std::memcmp(&left.sin6_addr, &right.sin6_addr, sizeof left.sin6_addr) == 0;
  }
  return path_bytes(a.storage_, a.length_) == path_bytes(b.storage_, b.length_);
}

}  // namespace fibrio
