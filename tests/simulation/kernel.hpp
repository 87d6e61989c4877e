// What: of Linux, what the workers of a simulated machine need: epoll, eventfd, timerfd, and stream sockets that get
//   messages from outside. Stands in the table of system calls as long as it lives; what it does not know goes to the
//   real kernel. Threads: that of the machine.
//   Edges, exclusive wake-ups and the order in which epoll instances are told are Linux's.
#pragma once

#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>

#include "base/syscalls.hpp"
#include "simulation/machine.hpp"

namespace fibrio::simulation {

// What a socket's peer sends; received as its bytes.
struct Message {
  Nanos sent = 0;
  Nanos work = 0;
};

class Kernel {
 public:
  explicit Kernel(Machine& machine);
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  ~Kernel();

  // A connected socket; `on_answer` is called for what is sent on it.
  [[nodiscard]] int make_socket(std::function<void()> on_answer);
  // The peer sends, or closes. From an event of the machine.
  void deliver(int fd, const Message& message);
  void hang_up(int fd);

 private:
  struct File;
  struct Watch {  // one file in one epoll instance
    File* epoll = nullptr;
    std::uint64_t data = 0;
    std::uint32_t events = 0;
    std::uint32_t pending = 0;
    bool queued = false;
  };
  struct File {
    bool is_epoll = false;
    bool is_socket = false;
    bool is_open = true;
    std::list<Watch> watches;       // of this file, in order of registration
    std::deque<Watch*> ready;       // of an epoll instance
    Cpu* sleeper = nullptr;         // of an epoll instance
    std::uint64_t timer_round = 0;  // of a timer: how often it was set
    std::uint64_t expiries = 0;     // of a timer: not read yet
    std::deque<Message> messages;   // of a socket
    bool ended = false;
    std::function<void()> on_answer;
  };

  [[nodiscard]] static File* file_of(int fd) noexcept;
  [[nodiscard]] int make();
  void raise(File& file, std::uint32_t events);
  [[nodiscard]] int take_ready(File& epoll, epoll_event* events, int max_events);

  static int epoll_create1(int flags);
  static int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event);
  static int epoll_pwait2(int epoll_fd, epoll_event* events, int max_events, const timespec* timeout,
                          const sigset_t* mask);
  static int epoll_pwait(int epoll_fd, epoll_event* events, int max_events, int timeout_ms,
                         const sigset_t* mask);
  static int eventfd(unsigned initial, int flags);
  static int timerfd_create(int clock, int flags);
  static int timerfd_settime(int fd, int flags, const itimerspec* time, itimerspec* old);
  static ssize_t read(int fd, void* data, std::size_t bytes);
  static ssize_t write(int fd, const void* data, std::size_t bytes);
  static ssize_t recv(int fd, void* data, std::size_t bytes, int flags);
  static ssize_t send(int fd, const void* data, std::size_t bytes, int flags);
  static int close(int fd);
  static int fcntl(int fd, int command, long argument);
  static int getsockopt(int fd, int level, int option, void* value, socklen_t* bytes);

  Machine& machine_;
  std::deque<File> files_;
  const sys::Syscalls before_;
};

}  // namespace fibrio::simulation
