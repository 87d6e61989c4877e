// What: Process, and how its pipes are made.
#include "fibrio/subprocess.hpp"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>
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

struct Process::Parts {
  std::shared_ptr<detail::ProcessState> state;
  std::optional<StreamWriter> in;
  std::optional<StreamReader> out;
  std::optional<StreamReader> err;

  void drop() noexcept {
    if (in) in->abort();  // in the background nobody would wait for what is left
    state->drop();
  }
};

namespace {

template <class Stream>
Stream& pipe_or_throw(std::optional<Stream>& pipe, const char* name) {
  if (pipe) return *pipe;
  throw RuntimeError(std::string("Process::") + name + " is no pipe: say ." + name +
                     " = PIPE in SubprocessOptions");
}

void feed(StreamWriter& writer, std::string_view input) {
  constexpr std::size_t kPiece = 64 * 1024;  // what does not go at once is copied
  try {
    do {
      writer.write(input.substr(0, kPiece));
      writer.drain();
      input.remove_prefix(std::min(input.size(), kPiece));
    } while (!input.empty());
  } catch (const std::system_error& error) {
    // It did not want to read all of it.
    if (error.code().value() != EPIPE && error.code().value() != ECONNRESET) throw;
  }
  writer.close();
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
    const auto take = [](Ends& end, auto&& connect) {
      std::unique_ptr<ByteStream> stream = connect(end.ours.get());
      static_cast<void>(end.ours.take_fd());
      return stream;
    };
    if (ends[0].ours.is_open()) parts->in.emplace(take(ends[0], connect_write_pipe));
    if (ends[1].ours.is_open()) parts->out.emplace(take(ends[1], connect_read_pipe), options.limit);
    if (ends[2].ours.is_open()) parts->err.emplace(take(ends[2], connect_read_pipe), options.limit);
    parts->state->adopt(spawn(request));
    return Process(std::move(parts));
  }
};

}  // namespace detail

Process::Process(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    if (parts_ != nullptr) parts_->drop();
    parts_ = std::move(other.parts_);
  }
  return *this;
}
Process::~Process() {
  if (parts_ != nullptr) parts_->drop();
}

int Process::pid() const noexcept { return parts_->state->pid(); }
std::optional<int> Process::returncode() const noexcept { return parts_->state->returncode(); }
StreamWriter& Process::stdin() const { return pipe_or_throw(parts_->in, "stdin"); }
StreamReader& Process::stdout() const { return pipe_or_throw(parts_->out, "stdout"); }
StreamReader& Process::stderr() const { return pipe_or_throw(parts_->err, "stderr"); }

int Process::wait() {
  const std::shared_ptr<detail::ProcessState> state = parts_->state;  // the Process may move meanwhile
  return state->wait();
}

std::pair<std::string, std::string> Process::communicate(std::optional<std::string_view> input) {
  if (input && !input->empty() && !parts_->in) {
    throw std::invalid_argument("communicate: there is an input, but stdin is no pipe");
  }
  std::pair<std::string, std::string> output;
  try {
    task_group([&](TaskGroup& group) {
      if (parts_->out) group.create_task([&] { output.first = parts_->out->read(); });
      if (parts_->err) group.create_task([&] { output.second = parts_->err->read(); });
      if (parts_->in) feed(*parts_->in, input.value_or(std::string_view()));
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
