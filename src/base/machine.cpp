#include "base/machine.hpp"

#include <sched.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/syscalls.hpp"

namespace fibrio::detail {
namespace {

// A kernel built for more CPUs than the mask holds answers EINVAL; no kernel has more than this.
constexpr std::size_t kFirstMaskBits = 1024;
constexpr std::size_t kMostMaskBits = std::size_t{1} << 20;

std::optional<std::string> read_first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!file || !std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<long long> parse_number(std::string_view text) {
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool list_contains(const std::string& comma_list, std::string_view wanted) {
  std::istringstream items(comma_list);
  for (std::string item; std::getline(items, item, ',');) {
    if (item == wanted) return true;
  }
  return false;
}

// Paths in mountinfo carry blanks and such as \ooo.
std::string unescape(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 4], code, 8).ptr == &text[i + 4]) {
      result += static_cast<char>(code);
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

struct Hierarchy {
  bool unified;             // cgroup v2
  std::string mount_root;   // which cgroup is mounted
  std::string mount_point;  // where
};

// Where the cgroup hierarchies that may hold `controller` are mounted; in containers anything may be mounted
// anywhere.
std::vector<Hierarchy> find_hierarchies(const std::string& root, std::string_view controller) {
  std::vector<Hierarchy> found;
  std::ifstream mounts(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    // 36 35 98:0 /root /mount/point options [optional fields] - type source super-options
    std::istringstream fields(line);
    std::string skip, mount_root, mount_point, type, super_options;
    fields >> skip >> skip >> skip >> mount_root >> mount_point;
    while (fields >> skip && skip != "-") {
    }
    if (!(fields >> type >> skip >> super_options)) continue;
    if (type == "cgroup2") {
      found.push_back({true, unescape(mount_root), unescape(mount_point)});
    } else if (type == "cgroup" && list_contains(super_options, controller)) {
      found.push_back({false, unescape(mount_root), unescape(mount_point)});
    }
  }
  return found;
}

// The path of this process's cgroup in one kind of hierarchy.
std::optional<std::string> own_cgroup(const std::string& root, bool unified, std::string_view controller) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (unified ? controllers.empty() : list_contains(controllers, controller))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

// Calls `visit(directory, unified)` for this process's cgroup and each ancestor the mount shows, innermost
// first.
void visit_cgroups(const std::string& root, std::string_view controller,
                   const std::function<void(const std::string& directory, bool unified)>& visit) {
  for (const Hierarchy& hierarchy : find_hierarchies(root, controller)) {
    const std::optional<std::string> own = own_cgroup(root, hierarchy.unified, controller);
    if (!own) continue;
    // Our cgroup as seen from the mount. One that is not below it (another namespace's view: "/../other", or
    // a mount of something else) leaves the mount point itself, the best that can be seen.
    std::string below = *own;
    if (hierarchy.mount_root != "/") {
      const bool inside =
          below.starts_with(hierarchy.mount_root) &&
          (below.size() == hierarchy.mount_root.size() || below[hierarchy.mount_root.size()] == '/');
      below = inside ? below.substr(hierarchy.mount_root.size()) : "";
    }
    if (below == "/" || (below + "/").find("/../") != std::string::npos) below.clear();
    while (true) {
      visit(root + hierarchy.mount_point + below, hierarchy.unified);
      if (below.empty()) break;
      below.erase(below.rfind('/'));
    }
  }
}

// Quota over period, rounded up; none if unlimited or unreadable.
std::optional<std::size_t> cpus_of(std::string_view quota_text, std::string_view period_text) {
  const std::optional<long long> quota = parse_number(quota_text);  // "max" and -1 say: unlimited
  const std::optional<long long> period = parse_number(period_text);
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<std::size_t>((*quota - 1) / *period + 1);
}

std::optional<std::size_t> quota_of(const std::string& directory, bool unified) {
  if (unified) {
    const std::optional<std::string> line = read_first_line(directory + "/cpu.max");
    if (!line) return std::nullopt;
    std::istringstream fields(*line);
    std::string quota, period;
    fields >> quota >> period;
    return cpus_of(quota, period);
  }
  const std::optional<std::string> quota = read_first_line(directory + "/cpu.cfs_quota_us");
  const std::optional<std::string> period = read_first_line(directory + "/cpu.cfs_period_us");
  return quota && period ? cpus_of(*quota, *period) : std::nullopt;
}

}  // namespace

std::vector<int> affinity_cpus() {
  std::vector<int> cpus;
  for (std::size_t bits = kFirstMaskBits; bits <= kMostMaskBits; bits *= 2) {
    std::vector<unsigned long> mask(bits / (8 * sizeof(unsigned long)), 0);
    const std::size_t bytes = bits / 8;
    auto* set = reinterpret_cast<cpu_set_t*>(mask.data());
    const int result = sys::sched_getaffinity(0, bytes, set);
    if (result == -EINVAL) continue;
    for (std::size_t cpu = 0; result >= 0 && cpu < bits; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, set)) cpus.push_back(static_cast<int>(cpu));
    }
    break;
  }
  if (cpus.empty()) {  // a filter forbids the call: all that are online
    const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
    for (int cpu = 0; cpu < std::max(1L, online); ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

std::size_t cgroup_cpu_quota(const std::string& root) {
  std::size_t smallest = 0;
  visit_cgroups(root, "cpu", [&](const std::string& directory, bool unified) {
    const std::optional<std::size_t> cpus = quota_of(directory, unified);
    if (cpus && (smallest == 0 || *cpus < smallest)) smallest = *cpus;
  });
  return smallest;
}

std::size_t usable_cpus(const std::string& root) {
  const std::size_t by_mask = affinity_cpus().size();
  const std::size_t by_quota = cgroup_cpu_quota(root);
  return by_quota == 0 ? by_mask : std::min(by_mask, by_quota);
}

std::string describe_thread_limits(const std::string& root) {
  std::string text = "RLIMIT_NPROC = ";
  rlimit limit{};
  if (sys::getrlimit(RLIMIT_NPROC, &limit) < 0) {
    text += "unknown";
  } else {
    text += limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur);
  }
  text += " (ulimit -u)";
  if (const auto threads_max = read_first_line(root + "/proc/sys/kernel/threads-max")) {
    text += ", kernel.threads-max = " + *threads_max;
  }
  std::optional<long long> smallest;
  visit_cgroups(root, "pids", [&](const std::string& directory, bool) {
    const std::optional<std::string> line = read_first_line(directory + "/pids.max");
    const std::optional<long long> pids = line ? parse_number(*line) : std::nullopt;  // "max": unlimited
    if (pids && (!smallest || *pids < *smallest)) smallest = pids;
  });
  if (smallest) text += ", cgroup pids.max = " + std::to_string(*smallest);
  return text;
}

std::uint64_t random_seed() noexcept {
  std::uint64_t seed = 0;
  ssize_t got;
  do {
    // Without waiting for the pool of a machine that just booted: a seed is no key.
    got = ::getrandom(&seed, sizeof seed, GRND_NONBLOCK);
  } while (got < 0 && errno == EINTR);
  if (got !=
      static_cast<ssize_t>(sizeof seed)) {  // an old kernel, a filter: time and pid, spread over the word
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    seed = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
    seed = (seed ^ (static_cast<std::uint64_t>(::getpid()) << 32)) * 0x9E3779B97F4A7C15U;  // golden ratio
  }
  return seed != 0 ? seed : 1;
}

}  // namespace fibrio::detail
