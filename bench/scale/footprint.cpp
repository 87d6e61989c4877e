// Question: what memory does a parked task take, and an idle TCP connection with a task of its own? Unit: bytes for
// each, of the process (RSS, page tables) and of the kernel's slabs (as root). A good answer: one page of stack and
// half a kilobyte for the task; nothing that grows with the number of others. Not measured: buffers of the
// application, and bytes that are on their way.
//   footprint [<tasks, default 100000> [<connections, default 10000>]]
// Connections come over loopback from a child, so slabs hold both ends of each.
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "../arguments.hpp"
#include "fibrio/fibrio.hpp"

namespace {

struct Memory {
  long resident = 0;
  long page_tables = 0;
  long mappings = 0;
  std::map<std::string, std::array<long, 2>> slabs;  // objects in use, bytes of one
};

Memory memory_now() {
  Memory memory;
  constexpr long kKilobyte = 1024;
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") status >> memory.resident;
    if (word == "VmPTE:") status >> memory.page_tables;
  }
  memory.resident *= kKilobyte;
  memory.page_tables *= kKilobyte;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) ++memory.mappings;
  std::ifstream slabs("/proc/slabinfo");  // root's
  for (std::string line; std::getline(slabs, line);) {
    std::istringstream fields(line);
    std::string name;
    long active = 0, all = 0, bytes = 0;
    if (fields >> name >> active >> all >> bytes) memory.slabs[name] = {active, bytes};
  }
  return memory;
}

void print_difference(const char* what, long count, const Memory& before, const Memory& after) {
  std::printf("%ld %s; %ld more mappings\n", count, what, after.mappings - before.mappings);
  const auto line = [count](const std::string& name, double bytes) {
    std::printf("  %-24s %8.0f bytes each\n", name.c_str(), bytes / static_cast<double>(count));
  };
  line("resident memory", static_cast<double>(after.resident - before.resident));
  line("page tables", static_cast<double>(after.page_tables - before.page_tables));
  double all = 0;
  for (const auto& [name, slab] : after.slabs) {
    const auto old = before.slabs.find(name);
    const long grown = slab[0] - (old == before.slabs.end() ? 0 : old->second[0]);
    if (grown <= count / 4) continue;
    const double bytes = static_cast<double>(grown) * static_cast<double>(slab[1]);
    line("slab " + name, bytes);
    all += bytes;
  }
  if (all != 0) line("slabs in all", all);
}

void measure_tasks(int count) {
  fibrio::Event event;
  const auto park = [&event] { event.wait(); };
  std::vector<fibrio::Task<>> tasks;
  tasks.reserve(static_cast<std::size_t>(count) + 100);
  std::memset(static_cast<void*>(tasks.data()), 0, tasks.capacity() * sizeof tasks[0]);  // pages of its own
  for (int i = 0; i < 100; ++i) tasks.push_back(fibrio::create_task(park));
  fibrio::yield();
  const Memory before = memory_now();
  for (int i = 0; i < count; ++i) tasks.push_back(fibrio::create_task(park));
  fibrio::yield();
  print_difference("tasks parked on one event", count, before, memory_now());
  event.set();
  for (const auto& task : tasks) fibrio::await(task);
}

// The child: connects to the port that it reads from `in`, holds the connections until `in` ends.
[[noreturn]] void connect_all(int in, int count) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::read(in, &address.sin_port, sizeof address.sin_port) != sizeof address.sin_port) ::_exit(1);
  for (int i = 0; i < count; ++i) {
    // Ports last for 28,000 connections from one address.
    sockaddr_in local{};
    local.sin_family = AF_INET;
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<unsigned>(i) / 20'000);
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    const int late = 1;  // connect finds the port, among those that are free towards this server
    ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0 ||
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      std::perror("footprint: connect");
      ::_exit(1);
    }
  }
  char end = 0;
  static_cast<void>(::read(in, &end, 1));
  ::_exit(0);
}

void measure_connections(int count, int to_child) {
  auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0), {.backlog = 4096});
  const auto serve = [](fibrio::TcpStream& stream) {
    std::array<std::byte, 256> buffer;  // one of 4 KiB makes it two pages of stack
    while (stream.read_some(buffer) != 0) {
    }
  };
  std::vector<fibrio::Task<>> tasks;
  tasks.reserve(static_cast<std::size_t>(count));
  fibrio::yield();
  const Memory before = memory_now();
  const std::uint16_t port = htons(listener.local_address().port());
  if (::write(to_child, &port, sizeof port) != sizeof port) std::abort();
  for (int i = 0; i < count; ++i) {
    tasks.push_back(fibrio::create_task([serve, stream = listener.accept()]() mutable { serve(stream); }));
  }
  fibrio::yield();
  print_difference("idle connections with a task each (slabs: both ends)", count, before, memory_now());
  ::close(to_child);
  for (const auto& task : tasks) fibrio::await(task);
}

}  // namespace

int main(int count, char** words) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  bench::Arguments arguments(count, words,
                             "footprint [<tasks, default 100000> [<connections, default 10000>]]");
  constexpr int kMost = 100'000'000;
  int tasks = 100'000;
  int connections = 10'000;
  if (arguments.next()) tasks = arguments.number("tasks", 1, kMost);
  if (arguments.next()) connections = arguments.number("connections", 1, kMost);
  if (arguments.next()) arguments.refuse_unknown();
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  int pipe[2];
  if (::pipe(pipe) != 0) return 1;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pipe[1]);
    connect_all(pipe[0], connections);
  }
  ::close(pipe[0]);
  fibrio::Config config = fibrio::Config::load();  // FIBRIO_STACK_SIZE
  config.workers = 1;
  fibrio::run([&] { measure_tasks(tasks); }, config);
  fibrio::run([&] { measure_connections(connections, pipe[1]); }, config);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}
