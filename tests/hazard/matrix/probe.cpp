// Built by run.sh with several compilers and options, linked against the built library: what compilers may
// keep over a switch (addresses of thread-locals, the exception state, errno) must not make the library's
// answers wrong.
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "sched/this_worker.hpp"

using fibrio::detail::this_worker;
using namespace std::chrono_literals;

namespace {

std::atomic<int> failures{0};
std::atomic<int> migrations{0};

#define EXPECT(condition)                                                                               \
  do {                                                                                                  \
    if (!(condition) && failures.fetch_add(1) < 10) std::printf("line %d: %s\n", __LINE__, #condition); \
  } while (false)

long thread_id() { return ::syscall(SYS_gettid); }

// Which thread runs which worker: one to one, whatever a task believes.
std::mutex seen_lock;
std::map<const void*, std::set<long>> threads_of_worker;

// No call between the two looks but the wait itself: the compiler may try to keep the first answer.
template <class Wait>
inline __attribute__((always_inline)) void look(Wait&& wait) {
  const void* worker_before = this_worker();
  const long thread_before = thread_id();
  wait();
  const void* worker_after = this_worker();
  const long thread_after = thread_id();
  EXPECT((worker_before == worker_after) == (thread_before == thread_after));
  if (thread_before != thread_after) ++migrations;
  const std::lock_guard guard(seen_lock);
  threads_of_worker[worker_before].insert(thread_before);
  threads_of_worker[worker_after].insert(thread_after);
}

[[gnu::noinline]] void fail(int number) { throw std::runtime_error(std::to_string(number)); }

struct WaitsInDestructor {
  ~WaitsInDestructor() {
    EXPECT(std::uncaught_exceptions() == 1);
    look([] { fibrio::yield(); });
    EXPECT(std::uncaught_exceptions() == 1);
  }
};

void exceptions(int number) {
  EXPECT(std::uncaught_exceptions() == 0);
  try {
    try {
      const WaitsInDestructor waits;
      fail(number);
    } catch (...) {
      const std::exception_ptr before = std::current_exception();
      look([] { fibrio::sleep(1us); });
      EXPECT(std::current_exception() == before);
      try {
        fail(-number);
      } catch (const std::runtime_error& inner) {
        look([] { fibrio::yield(); });
        EXPECT(inner.what() == std::to_string(-number));
      }
      look([] { fibrio::yield(); });
      throw;
    }
  } catch (const std::runtime_error& error) {
    EXPECT(error.what() == std::to_string(number));
  }
  EXPECT(std::current_exception() == nullptr);
}

[[gnu::noinline]] int* errno_of_thread() {
  asm volatile("" ::: "memory");
  return __errno_location();
}

inline __attribute__((always_inline)) bool is_out_of_range(const char* number) {
  try {
    static_cast<void>(std::stol(number));  // asks errno
    return false;
  } catch (const std::out_of_range&) {
    return true;
  }
}

// errno is that of the thread which the task is on, also in a function that has waited, and in what is inlined there.
void own_errno() {
  for (int i = 0; i < 3; ++i) {
    errno = 0;
    ::close(-1);
    EXPECT(errno == EBADF);
    EXPECT(&errno == errno_of_thread());
    EXPECT(is_out_of_range("99999999999999999999"));
    EXPECT(!is_out_of_range("7"));
    look([] { fibrio::yield(); });
  }
  EXPECT(is_out_of_range("99999999999999999999"));
}

// The error of a call is in the exception, whatever errno is on any thread.
void errors() {
  auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
  auto client = fibrio::TcpStream::connect(listener.local_address());
  auto server = listener.accept();
  auto task = fibrio::create_task([&] {
    errno = ENOENT;
    std::byte byte{};
    int code = 0;
    look([&] {
      try {
        server.read_some({&byte, 1});
      } catch (const std::system_error& error) {
        code = error.code().value();
      }
    });
    EXPECT(code == ECONNRESET);
  });
  for (int i = 0; i < 3; ++i) {
    errno = EPERM;
    fibrio::yield();
  }
  fibrio::sleep(100us);
  client.abort();
  fibrio::await(task);
  int code = 0;
  try {
    fibrio::wait_readable(100'000);
  } catch (const std::system_error& error) {
    code = error.code().value();
  }
  EXPECT(code == EBADF);
}

}  // namespace

int main() {
  ::setenv("FIBRIO_FORCE_MIGRATION", "1", 1);
  fibrio::Config config;
  config.workers = 4;
  fibrio::run(
      [] {
        std::vector<fibrio::Task<>> tasks;
        for (int i = 0; i < 32; ++i) {
          tasks.push_back(fibrio::create_task([i] {
            const fibrio::AnyTask self = fibrio::current_task();
            for (int round = 0; round < 50; ++round) {
              exceptions(i * 1000 + round + 1);
              own_errno();
              look([] { fibrio::await(fibrio::create_task([] {})); });
              EXPECT(fibrio::current_task() == self);
            }
            if (i % 8 == 0) errors();
          }));
        }
        for (auto& task : tasks) fibrio::await(task);
      },
      config);
  for (const auto& [worker, threads] : threads_of_worker) EXPECT(worker != nullptr && threads.size() == 1);
  EXPECT(threads_of_worker.size() == 4);
  EXPECT(migrations > 1000);
  std::printf("%d migrations, %d failures\n", migrations.load(), failures.load());
  return failures == 0 ? 0 : 1;
}
