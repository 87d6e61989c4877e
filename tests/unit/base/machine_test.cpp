#include "base/machine.hpp"

#include <stdlib.h>
#include <sys/sysinfo.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "base/syscalls.hpp"
#include "support/catch.hpp"

namespace fs = std::filesystem;
using namespace fibrio::detail;

namespace {

// A directory that plays the root of a machine; gone with the test.
class FakeRoot {
 public:
  FakeRoot() {
    std::string pattern = (fs::temp_directory_path() / "fibrio-machine-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~FakeRoot() { fs::remove_all(path_); }
  FakeRoot& write(const std::string& path, const std::string& text) {
    const fs::path file = path_ + path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text << '\n';
    return *this;
  }
  // One unified hierarchy at /sys/fs/cgroup in which the process is in `own`.
  FakeRoot& unified(const std::string& own) {
    write("/proc/self/mountinfo",
          "22 1 0:21 / /proc rw - proc proc rw\n"
          "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate");
    return write("/proc/self/cgroup", "0::" + own);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct RestoreSyscalls {
  ~RestoreSyscalls() { fibrio::sys::syscalls = fibrio::sys::real_syscalls; }
};

}  // namespace

TEST_CASE("usable_cpus is at least one and at most the affinity mask", "[machine]") {
  CHECK(usable_cpus() >= 1);
  CHECK(usable_cpus() <= affinity_cpus().size());
}

TEST_CASE("affinity_cpus lists ascending CPUs of this machine", "[machine]") {
  const std::vector<int> cpus = affinity_cpus();
  REQUIRE(!cpus.empty());
  CHECK(std::is_sorted(cpus.begin(), cpus.end()));
  CHECK(cpus.front() >= 0);
  CHECK(cpus.back() < get_nprocs_conf());
}

TEST_CASE("affinity_cpus grows its mask until the kernel accepts it", "[machine]") {
  RestoreSyscalls restore;
  fibrio::sys::syscalls.sched_getaffinity = [](pid_t, std::size_t bytes, cpu_set_t* set) -> int {
    if (bytes < 8192 / 8) return -EINVAL;
    CPU_SET_S(5000, bytes, set);
    CPU_SET_S(3, bytes, set);
    return 0;
  };
  CHECK(affinity_cpus() == std::vector<int>{3, 5000});
}

TEST_CASE("affinity_cpus falls back to the CPUs online where the call is forbidden", "[machine]") {
  RestoreSyscalls restore;
  fibrio::sys::syscalls.sched_getaffinity = [](pid_t, std::size_t, cpu_set_t*) -> int { return -EPERM; };
  CHECK(affinity_cpus().size() == static_cast<std::size_t>(get_nprocs()));
}

TEST_CASE("cgroup_cpu_quota is zero without files and without limits", "[machine]") {
  FakeRoot root;
  CHECK(cgroup_cpu_quota(root.path()) == 0);
  root.unified("/app").write("/sys/fs/cgroup/app/cpu.max", "max 100000");
  CHECK(cgroup_cpu_quota(root.path()) == 0);
}

TEST_CASE("cgroup_cpu_quota rounds a v2 quota up", "[machine]") {
  FakeRoot root;
  root.unified("/app");
  const std::string file = "/sys/fs/cgroup/app/cpu.max";
  CHECK(cgroup_cpu_quota(root.write(file, "150000 100000").path()) == 2);
  CHECK(cgroup_cpu_quota(root.write(file, "200000 100000").path()) == 2);
  CHECK(cgroup_cpu_quota(root.write(file, "1000 100000").path()) == 1);
  CHECK(cgroup_cpu_quota(root.write(file, "800001 100000").path()) == 9);
}

TEST_CASE("cgroup_cpu_quota takes the smallest of the v2 cgroup and its ancestors", "[machine]") {
  FakeRoot root;
  root.unified("/slice/pod/app").write("/sys/fs/cgroup/slice/pod/app/cpu.max", "max 100000");
  root.write("/sys/fs/cgroup/slice/pod/cpu.max", "300000 100000");
  root.write("/sys/fs/cgroup/slice/cpu.max", "800000 100000");
  CHECK(cgroup_cpu_quota(root.path()) == 3);
  root.write("/sys/fs/cgroup/cpu.max", "200000 100000");  // a namespace's root shows its limit
  CHECK(cgroup_cpu_quota(root.path()) == 2);
}

TEST_CASE("cgroup_cpu_quota reads v1 quotas through the mount's own root", "[machine]") {
  FakeRoot root;
  root.write("/proc/self/cgroup", "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc/inner\n0::/");
  root.write("/proc/self/mountinfo",
             "40 30 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct");
  const std::string mount = "/sys/fs/cgroup/cpu,cpuacct";
  root.write(mount + "/cpu.cfs_quota_us", "250000").write(mount + "/cpu.cfs_period_us", "100000");
  CHECK(cgroup_cpu_quota(root.path()) == 3);
  root.write(mount + "/inner/cpu.cfs_quota_us", "50000").write(mount + "/inner/cpu.cfs_period_us", "50000");
  CHECK(cgroup_cpu_quota(root.path()) == 1);
  root.write(mount + "/inner/cpu.cfs_quota_us", "-1").write(mount + "/cpu.cfs_quota_us", "-1");
  CHECK(cgroup_cpu_quota(root.path()) == 0);
}

TEST_CASE("cgroup_cpu_quota does not take cpuset or cpuacct for cpu", "[machine]") {
  FakeRoot root;
  root.write("/proc/self/cgroup", "3:cpuset:/\n2:cpuacct:/");
  root.write("/proc/self/mountinfo", "40 30 0:30 / /cg/cpuset rw - cgroup cgroup rw,cpuset");
  root.write("/cg/cpuset/cpu.cfs_quota_us", "100000").write("/cg/cpuset/cpu.cfs_period_us", "100000");
  CHECK(cgroup_cpu_quota(root.path()) == 0);
}

TEST_CASE("cgroup_cpu_quota reads the mount point when the cgroup lies outside of it", "[machine]") {
  FakeRoot root;
  root.unified("/../other").write("/sys/fs/cgroup/cpu.max", "100000 100000");
  root.write("/sys/fs/other/cpu.max", "900000 100000");
  CHECK(cgroup_cpu_quota(root.path()) == 1);
}

TEST_CASE("cgroup_cpu_quota decodes escaped mount points", "[machine]") {
  FakeRoot root;
  root.write("/proc/self/cgroup", "0::/");
  root.write("/proc/self/mountinfo", "30 23 0:26 / /my\\040cg rw - cgroup2 none rw");
  root.write("/my cg/cpu.max", "400000 100000");
  CHECK(cgroup_cpu_quota(root.path()) == 4);
}

TEST_CASE("cgroup_cpu_quota ignores nonsense", "[machine]") {
  FakeRoot root;
  root.unified("/app");
  const std::string file = "/sys/fs/cgroup/app/cpu.max";
  for (const char* text :
       {"", "garbage", "100000", "100000 0", "-5 100000", "99999999999999999999 1", "1x 100000"}) {
    INFO(text);
    CHECK(cgroup_cpu_quota(root.write(file, text).path()) == 0);
  }
  root.write("/proc/self/cgroup", "no colons at all").write("/proc/self/mountinfo", "short line");
  CHECK(cgroup_cpu_quota(root.path()) == 0);
}

TEST_CASE("usable_cpus applies the quota to the mask", "[machine]") {
  RestoreSyscalls restore;
  fibrio::sys::syscalls.sched_getaffinity = [](pid_t, std::size_t bytes, cpu_set_t* set) -> int {
    for (std::size_t cpu = 0; cpu < 8; ++cpu) CPU_SET_S(cpu, bytes, set);
    return 0;
  };
  FakeRoot root;
  CHECK(usable_cpus(root.path()) == 8);
  root.unified("/app").write("/sys/fs/cgroup/app/cpu.max", "250000 100000");
  CHECK(usable_cpus(root.path()) == 3);
  root.write("/sys/fs/cgroup/app/cpu.max", "1600000 100000");
  CHECK(usable_cpus(root.path()) == 8);
}

TEST_CASE("describe_thread_limits names each limit with its value", "[machine]") {
  FakeRoot root;
  root.unified("/app").write("/sys/fs/cgroup/app/pids.max", "100").write("/sys/fs/cgroup/pids.max", "max");
  root.write("/proc/sys/kernel/threads-max", "126000");
  const std::string text = describe_thread_limits(root.path());
  INFO(text);
  CHECK(text.find("RLIMIT_NPROC = ") == 0);
  CHECK(text.find("kernel.threads-max = 126000") != std::string::npos);
  CHECK(text.find("cgroup pids.max = 100") != std::string::npos);
}

TEST_CASE("random_seed is never zero and differs from call to call", "[machine]") {
  std::set<std::uint64_t> seeds;
  for (int i = 0; i < 100; ++i) seeds.insert(random_seed());
  CHECK(seeds.size() == 100);
  CHECK(seeds.count(0) == 0);
}
