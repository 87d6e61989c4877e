// What: Process, and how its pipes are made.
#include "fibrio/subprocess.hpp"

#include <fcntl.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "fibrio/errors.hpp"
#include "fibrio/pipes.hpp"
#include "fibrio/task_groups.hpp"
#include "net/process_state.hpp"
#include "net/socket_calls.hpp"
#include "sched/worker.hpp"

namespace fibrio {

using detail::fail;

struct Process::Parts {
  std::shared_ptr<detail::ProcessState> state;
  std::unique_ptr<ByteStream> in;
  std::unique_ptr<ByteStream> out;
  std::unique_ptr<ByteStream> err;
};

namespace {

ByteStream& pipe_or_throw(const std::unique_ptr<ByteStream>& pipe, const char* name) {
  if (pipe != nullptr) return *pipe;
  throw RuntimeError(std::string("Process::") + name + " is no pipe: say ." + name +
                     " = PIPE in SubprocessOptions");
}

std::string read_to_end(ByteStream& stream) {
  constexpr std::size_t kAtOnce = 64U << 10;
  std::string text;
  for (std::size_t filled = 0;;) {
    text.resize(filled + kAtOnce);
    const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(text)).subspan(filled));
    filled += count;
    if (count == 0) {
      text.resize(filled);
      return text;
    }
  }
}

void feed(ByteStream& stream, std::string_view input) {
  try {
    stream.write_all(std::as_bytes(std::span(input.data(), input.size())));
  } catch (const std::system_error& error) {
    // It did not want to read all of it.
    if (error.code().value() != EPIPE && error.code().value() != ECONNRESET) throw;
  }
  stream.close();
}

}  // namespace

namespace detail {

// The ends of one standard stream.
struct Ends {
  int childs = kInheritFd;
  sys::UniqueFd owner;  // of the child's end, if it was made for it
  sys::UniqueFd ours;
};

struct Spawner {
  static Ends open(const Redirect& redirect, int number) {
    Ends ends;
    switch (redirect.kind()) {
      case Redirect::Kind::kInherit:
        break;
      case Redirect::Kind::kPipe: {
        int fds[2];
        if (const int error = sys::pipe2(fds, O_CLOEXEC); error < 0) fail(error, "pipe2");
        const bool childs_is_read = number == 0;
        ends.owner.reset(fds[childs_is_read ? 0 : 1]);
        ends.ours.reset(fds[childs_is_read ? 1 : 0]);
        ends.childs = ends.owner.get();
        break;
      }
      case Redirect::Kind::kDevnull: {
        const int fd = sys::open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0) fail(fd, "open of /dev/null");
        ends.owner.reset(fd);
        ends.childs = fd;
        break;
      }
      case Redirect::Kind::kStdout:
        throw std::invalid_argument("create_subprocess: STDOUT is for stderr only");
      case Redirect::Kind::kFd:
        if (redirect.fd() < 0) throw std::invalid_argument("create_subprocess: a negative fd");
        ends.childs = redirect.fd();
        break;
    }
    return ends;
  }

  static Process start(SpawnRequest request, const SubprocessOptions& options) {
    Worker* worker = this_worker();
    if (worker == nullptr) throw RuntimeError("create_subprocess needs a running loop");
    if (request.command.empty() || request.command.front().empty()) {
      throw std::invalid_argument("create_subprocess: no program");
    }
    request.cwd = options.cwd;
    request.new_session = options.start_new_session;
    request.process_group = options.process_group;
    request.pass_fds = options.pass_fds;
    if (options.env) {
      request.env.emplace();
      for (const auto& [name, value] : *options.env) {
        if (name.empty() || name.find('=') != std::string::npos) {
          throw std::invalid_argument("create_subprocess: \"" + name + "\" is no name of a variable");
        }
        request.env->push_back(name + "=" + value);
      }
    }
    std::array<Ends, 3> ends;
    ends[0] = open(options.stdin, 0);
    ends[1] = open(options.stdout, 1);
    if (options.stderr.kind() == Redirect::Kind::kStdout) {
      ends[2].childs = ends[1].childs == kInheritFd ? 1 : ends[1].childs;
    } else {
      ends[2] = open(options.stderr, 2);
    }
    for (int i = 0; i < 3; ++i) request.stdio[i] = ends[i].childs;

    auto parts = std::make_unique<Process::Parts>();
    parts->state = std::make_shared<ProcessState>(worker->scheduler, options.on_drop);
    const auto take = [](Ends& end, std::unique_ptr<ByteStream>& stream, auto&& connect) {
      if (!end.ours.is_open()) return;
      stream = connect(end.ours.get());
      static_cast<void>(end.ours.take_fd());
    };
    take(ends[0], parts->in, connect_write_pipe);
    take(ends[1], parts->out, connect_read_pipe);
    take(ends[2], parts->err, connect_read_pipe);
    parts->state->adopt(spawn(request));
    return Process(std::move(parts));
  }
};

}  // namespace detail

Process::Process(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    if (parts_ != nullptr) parts_->state->drop();
    parts_ = std::move(other.parts_);
  }
  return *this;
}
Process::~Process() {
  if (parts_ != nullptr) parts_->state->drop();
}

int Process::pid() const noexcept { return parts_->state->pid(); }
std::optional<int> Process::returncode() const noexcept { return parts_->state->returncode(); }
ByteStream& Process::stdin() const { return pipe_or_throw(parts_->in, "stdin"); }
ByteStream& Process::stdout() const { return pipe_or_throw(parts_->out, "stdout"); }
ByteStream& Process::stderr() const { return pipe_or_throw(parts_->err, "stderr"); }

int Process::wait() {
  const std::shared_ptr<detail::ProcessState> state = parts_->state;  // the Process may move meanwhile
  return state->wait();
}

std::pair<std::string, std::string> Process::communicate(std::optional<std::string_view> input) {
  if (input && !input->empty() && parts_->in == nullptr) {
    throw std::invalid_argument("communicate: there is an input, but stdin is no pipe");
  }
  std::pair<std::string, std::string> output;
  try {
    task_group([&](TaskGroup& group) {
      if (parts_->out != nullptr) group.create_task([&] { output.first = read_to_end(*parts_->out); });
      if (parts_->err != nullptr) group.create_task([&] { output.second = read_to_end(*parts_->err); });
      if (parts_->in != nullptr) feed(*parts_->in, input.value_or(std::string_view()));
    });
  } catch (const ExceptionGroup& failures) {
    std::rethrow_exception(failures.exceptions().front());  // asyncio: a gather
  }
  wait();
  return output;
}

void Process::send_signal(int signal) { parts_->state->send_signal(signal); }
void Process::terminate() { send_signal(SIGTERM); }
void Process::kill() { send_signal(SIGKILL); }

Process create_subprocess_exec(const std::vector<std::string>& command, SubprocessOptions options) {
  detail::SpawnRequest request;
  request.command = command;
  return detail::Spawner::start(std::move(request), options);
}

Process create_subprocess_shell(const std::string& command, SubprocessOptions options) {
  return create_subprocess_exec({"/bin/sh", "-c", command}, std::move(options));
}

}  // namespace fibrio
