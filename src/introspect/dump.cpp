// What: dump_tasks: every task of a loop in words, and the cycles among them. Threads: any.
#include <cstdio>
#include <ostream>
#include <string>
#include <unordered_map>
#include <vector>

#include "fibrio/event_loop.hpp"
#include "fibrio/introspection.hpp"
#include "introspect/look.hpp"
#include "sched/scheduler.hpp"
#include "task/registry.hpp"
#include "task/report.hpp"

namespace fibrio {
namespace {

std::string quoted(const std::string& name) { return "'" + detail::printable(name) + "'"; }

std::string describe(const TaskInfo& info) {
  std::string text;
  switch (info.state) {
    case TaskState::kReady:
      text = "ready";
      break;
    case TaskState::kRunning:
      text = "running";
      break;
    case TaskState::kDone:
      text = "done";
      break;
    case TaskState::kWaiting:
      text = std::string("waiting for ") + to_string(info.reason);
      if (info.awaited.valid() && info.reason == WaitReason::kTask)
        text += " " + quoted(detail::task_name(*info.awaited.state()));
      break;
  }
  if (info.waiting_time) {
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, ", for %.3f s",
                  std::chrono::duration<double>(*info.waiting_time).count());
    text += seconds;
  }
  if (info.cancelling != 0) text += ", cancelling " + std::to_string(info.cancelling);
  if (info.cancel_masks != 0) text += ", cancellation masked";
  return text;
}

void write_frames(std::ostream& out, const char* title, const std::vector<StackFrame>& stack) {
  if (stack.empty()) return;
  out << "  + " << title << ":\n";
  for (const StackFrame& frame : stack) out << "  |   " << frame << '\n';
}

// Follows "is awaited by" from each task; whoever is met again on the way closes a cycle.
class Cycles {
 public:
  Cycles(std::ostream& out, const std::unordered_map<AnyTask, std::vector<AnyTask>>& waiting)
      : out_(out), waiting_(waiting) {}

  void write() {
    for (const auto& [task, awaited_by] : waiting_) follow(task);
  }

 private:
  enum class Mark : std::uint8_t { kNew, kOnPath, kDone };
  struct Step {
    AnyTask task;
    const std::vector<AnyTask>* awaited_by;
    std::size_t next = 0;
  };

  void enter(const AnyTask& task) {
    const auto found = waiting_.find(task);
    if (found == waiting_.end()) return;  // it came after the snapshot
    marks_[task] = Mark::kOnPath;
    path_.push_back({task, &found->second});
  }
  void follow(const AnyTask& first) {
    if (marks_[first] == Mark::kNew) enter(first);
    while (!path_.empty()) {
      Step& step = path_.back();
      if (step.next == step.awaited_by->size()) {
        marks_[step.task] = Mark::kDone;
        path_.pop_back();
        continue;
      }
      const AnyTask& task = (*step.awaited_by)[step.next++];
      const Mark mark = marks_[task];
      if (mark == Mark::kOnPath) write_cycle(task);
      if (mark == Mark::kNew) enter(task);
    }
  }
  void write_cycle(const AnyTask& from) {
    out_ << "await cycle, none of these can ever go on: ";
    bool is_part = false;
    for (const Step& step : path_) {
      is_part = is_part || step.task == from;
      if (is_part) out_ << quoted(step.task.get_name()) << " is awaited by ";
    }
    out_ << quoted(from.get_name()) << '\n';
  }

  std::ostream& out_;
  const std::unordered_map<AnyTask, std::vector<AnyTask>>& waiting_;
  std::unordered_map<AnyTask, Mark> marks_;
  std::vector<Step> path_;
};

}  // namespace

void dump_tasks(std::ostream& out, EventLoop& loop) {
  const std::vector<AnyTask> tasks = detail::loop_identity(loop).scheduler->registry->snapshot();
  out << tasks.size() << (tasks.size() == 1 ? " task, " : " tasks, ") << loop.workers()
      << (loop.workers() == 1 ? " worker\n" : " workers\n");
  std::unordered_map<AnyTask, std::vector<AnyTask>> waiting;
  for (const AnyTask& task : tasks) {
    const TaskInfo info = inspect(task);
    out << "* Task " << quoted(info.name) << ": " << describe(info) << '\n';
    write_frames(out, "Call stack", info.stack);
    write_frames(out, "Created at", info.source_traceback);
    const std::vector<AnyTask>& awaited_by = waiting[task] = detail::waiting_for(*task.state());
    if (!awaited_by.empty()) {
      out << "  + Awaited by:";
      const char* separator = " ";
      for (const AnyTask& each : awaited_by) {
        out << separator << quoted(each.get_name());
        separator = ", ";
      }
      out << '\n';
    }
  }
  Cycles(out, waiting).write();
}

void dump_tasks(std::ostream& out) { dump_tasks(out, get_running_loop()); }

}  // namespace fibrio
