// What: facts about the machine as this process may use it: CPUs after the affinity mask and the cgroup's cpu
// quota, limits on threads, and a random seed.
// Threads: any. Nothing is remembered: each call reads the system again (a few file reads, at set-up only).
// Protocol: usable = max(1, min(CPUs in the mask, ceil(quota / period))), the quota being the smallest of the
//   process's own cgroup and all its ancestors that the mount shows, cgroup v1 and v2 alike.
// Rejected: std::thread::hardware_concurrency (knows the mask but no quota: a container with two CPUs' worth
//   of quota on a machine of 64 would get 64 workers and be throttled); rounding the quota down (1.5 CPUs
//   would leave a third of what was paid for unused).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fibrio::detail {

// The CPUs worth one worker each, at least 1. `root` stands before /proc and /sys (for tests).
[[nodiscard]] std::size_t usable_cpus(const std::string& root = "");

// The numbers of the CPUs in the calling thread's affinity mask, ascending; at least one.
[[nodiscard]] std::vector<int> affinity_cpus();

// The CPUs that the cgroups' quotas allow, rounded up, at least 1; 0 = no quota.
[[nodiscard]] std::size_t cgroup_cpu_quota(const std::string& root = "");

// For error texts, when a thread cannot be started: what may stand in the way and how high it is set, as
// "RLIMIT_NPROC = 4096 (ulimit -u), kernel.threads-max = 126000, cgroup pids.max = 100".
[[nodiscard]] std::string describe_thread_limits(const std::string& root = "");

// Random bits from the system; never 0, which means "choose one" in Config::seed.
[[nodiscard]] std::uint64_t random_seed() noexcept;

}  // namespace fibrio::detail
