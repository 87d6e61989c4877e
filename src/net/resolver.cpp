#include "net/resolver.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "net/loop_access.hpp"
#include "sched/worker.hpp"

namespace fibrio {
namespace {

constexpr std::chrono::seconds kResolverKeepAlive{10};
constexpr std::string_view kDigits = "0123456789";

class ResolverCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "resolver"; }
  [[nodiscard]] std::string message(int code) const override { return ::gai_strerror(code); }
  [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
    if (code == EAI_MEMORY) return std::errc::not_enough_memory;
    if (code == EAI_AGAIN) return std::errc::resource_unavailable_try_again;
    if (code == EAI_FAMILY) return std::errc::address_family_not_supported;
    return {code, *this};
  }
};

// what() ends at the first zero.
std::string printable(std::string text) {
  for (std::size_t at = 0; (at = text.find('\0', at)) != std::string::npos;) text.replace(at, 1, "\\0");
  return text;
}

[[noreturn]] void fail_to_resolve(int code, int error_number, const std::string& host,
                                  const std::string& service) {
  const std::string what =
      "getaddrinfo of host \"" + printable(host) + "\", service \"" + printable(service) + "\"";
  if (code == EAI_SYSTEM) throw std::system_error(error_number, std::system_category(), what);
  throw std::system_error(code, resolver_category(), what);
}

// The port if `service` is numeric. Checked here because glibc cuts "65537" down to 1, and takes "-1" for
// 65535.
std::optional<std::uint16_t> numeric_port(const std::string& host, const std::string& service) {
  if (service.empty()) return 0;
  // Names of services begin with a letter or a digit ("9pfs"), numbers are digits and nothing else.
  const char first = service.front();
  const bool is_letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z');
  const bool is_digit = kDigits.find(first) != std::string_view::npos;
  if (!is_letter && !is_digit) fail_to_resolve(EAI_SERVICE, 0, host, service);
  if (service.find_first_not_of(kDigits) != std::string::npos) return std::nullopt;
  std::uint16_t port = 0;
  if (std::from_chars(service.data(), service.data() + service.size(), port).ec != std::errc{}) {
    fail_to_resolve(EAI_SERVICE, 0, host, service);
  }
  return port;
}

// Frees what a look-up gave.
struct FreeAnswer {
  void (*free)(addrinfo*);
  void operator()(addrinfo* answer) const noexcept { free(answer); }
};

}  // namespace

const std::error_category& resolver_category() noexcept {
  static const ResolverCategory category;
  return category;
}

std::vector<Address> detail::look_up_now(const NameQuestion& question) {
  const auto& [host, service, family, flags, look_up] = question;
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;  // else each address comes once per type
  hints.ai_flags = flags | (family == AF_UNSPEC ? AI_ADDRCONFIG : 0);
  addrinfo* first = nullptr;
  const int code = look_up.getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                       service.empty() ? nullptr : service.c_str(), &hints, &first);
  const int error_number = errno;
  if (code != 0) fail_to_resolve(code, error_number, host, service);
  const std::unique_ptr<addrinfo, FreeAnswer> answer(first, FreeAnswer{look_up.freeaddrinfo});
  std::vector<Address> addresses;
  for (const addrinfo* each = first; each != nullptr; each = each->ai_next) {
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    const Address address = Address::from_sockaddr(each->ai_addr, each->ai_addrlen);
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end())
      addresses.push_back(address);
  }
  if (addresses.empty()) fail_to_resolve(EAI_NODATA, 0, host, service);
  return addresses;
}

std::optional<Address> detail::resolve_numeric(const std::string& host, const std::string& service,
                                               int family) {
  if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
    fail_to_resolve(EAI_FAMILY, 0, host, service);
  // A zero would cut the text short on its way through C.
  if (host.find('\0') != std::string::npos) fail_to_resolve(EAI_NONAME, 0, host, service);
  if (service.find('\0') != std::string::npos) fail_to_resolve(EAI_SERVICE, 0, host, service);
  const std::optional<std::uint16_t> port = numeric_port(host, service);
  const bool may_be_literal = host.find(':') != std::string::npos ||
                              (!host.empty() && host.find_first_not_of("0123456789.") == std::string::npos);
  if (!port || !may_be_literal) return std::nullopt;
  std::optional<Address> address;
  try {
    address = Address::parse(host, *port);
  } catch (const std::invalid_argument&) {
    return std::nullopt;  // "127.1": the system may know what is meant
  }
  if (family != AF_UNSPEC && family != address->family()) fail_to_resolve(EAI_ADDRFAMILY, 0, host, service);
  return address;
}

std::vector<Address> detail::resolve(NameLookups& names, const std::string& host, const std::string& service,
                                     int family, int flags, LookUp look_up) {
  if (const std::optional<Address> address = resolve_numeric(host, service, family)) return {*address};
  const std::shared_ptr<const ResolverOptions> options = names.options();
  if (!options->look_up || host.empty()) return names.look_up({host, service, family, flags, look_up});
  std::vector<Address> addresses = options->look_up(host, service, family);
  if (addresses.empty()) fail_to_resolve(EAI_NODATA, 0, host, service);
  return addresses;
}

void set_resolver(ResolverOptions options) {
  static_cast<void>(detail::require_task("set_resolver"));
  detail::names_of_running_loop().set_options(std::move(options));
}

std::unique_ptr<ThreadPool> detail::make_resolver_pool() {
  return std::make_unique<ThreadPool>(NameLookups::kMaxNames + NameLookups::kLocalThreads, kResolverKeepAlive,
                                      "fibrio-dns");
}

std::vector<Address> getaddrinfo(const std::string& host, const std::string& service, int family) {
  // Before the pool is asked for: a literal needs none.
  if (const std::optional<Address> address = detail::resolve_numeric(host, service, family))
    return {*address};
  static_cast<void>(detail::require_task("looking up a name"));
  return detail::resolve(detail::names_of_running_loop(), host, service, family);
}

std::vector<Address> getaddrinfo(const std::string& host, std::uint16_t port, int family) {
  return getaddrinfo(host, std::to_string(port), family);
}

}  // namespace fibrio
