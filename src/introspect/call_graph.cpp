// What: who waits for a future, as a tree; in words. Threads: any.
//
// Each future's waiters are listed once in a graph: without that a ladder of gathers would double it at each
// step, and a cycle would never end. The depth has a limit because the graph is built, and destroyed, by
// recursion on the caller's stack.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <unordered_set>

#include "fibrio/introspection.hpp"
#include "introspect/look.hpp"
#include "sched/worker.hpp"
#include "task/loop_services.hpp"
#include "task/report.hpp"

namespace fibrio {
namespace {

constexpr std::size_t kMaxDepth = 50;

using Cut = FutureCallGraph::Cut;
using detail::FutureState;

bool is_task(const AnyFuture& future) { return future.state()->kind() == FutureState::Kind::kTask; }

std::vector<StackFrame> call_stack_of(const AnyFuture& task, std::optional<int> limit) {
  if (limit == 0) return {};
  detail::Look look;
  detail::look_at(detail::TaskControl::of(*task.state()), look);
  std::vector<StackFrame> frames = detail::shown_stack(look);
  if (!limit) return frames;
  const auto kept = std::min<std::size_t>(frames.size(), static_cast<std::size_t>(std::abs(*limit)));
  if (*limit > 0) frames.erase(frames.begin(), frames.end() - static_cast<std::ptrdiff_t>(kept));
  frames.resize(kept);
  return frames;
}

class Capture {
 public:
  explicit Capture(std::optional<int> limit) : limit_(limit) {}

  FutureCallGraph capture(const AnyFuture& future) {
    FutureCallGraph graph{future, {}, {}};
    if (is_task(future)) graph.call_stack = call_stack_of(future, limit_);
    if (std::find(path_.begin(), path_.end(), future) != path_.end()) {
      graph.cut = Cut::kCycle;
    } else if (seen_.count(future) != 0) {
      graph.cut = Cut::kRepeated;
    } else if (path_.size() == kMaxDepth) {
      graph.cut = Cut::kTooDeep;
    } else {
      seen_.insert(future);
      path_.push_back(future);
      for (const AnyTask& task : detail::waiting_for(*future.state())) {
        graph.awaited_by.push_back(capture(task));
      }
      path_.pop_back();
    }
    return graph;
  }

 private:
  const std::optional<int> limit_;
  std::vector<AnyFuture> path_;
  std::unordered_set<AnyFuture> seen_;
};

void render(std::ostream& out, const FutureCallGraph& graph, std::size_t level) {
  const std::string indent(level * 4, ' ');
  out << indent;
  if (is_task(graph.future)) {
    out << "* Task(name='" << detail::printable(detail::task_name(*graph.future.state())) << "', id=";
  } else {
    out << "* Future(id=";
  }
  out << static_cast<const void*>(graph.future.state()) << ')';
  switch (graph.cut) {
    case Cut::kNone:
      break;
    case Cut::kCycle:
      out << " <- a cycle: it waits for itself";
      break;
    case Cut::kRepeated:
      out << " <- see above";
      break;
    case Cut::kTooDeep:
      out << " ...";
      break;
  }
  out << '\n';
  if (graph.cut == Cut::kCycle || graph.cut == Cut::kRepeated) return;
  if (!graph.call_stack.empty()) {
    out << indent << "  + Call stack:\n";
    for (const StackFrame& frame : graph.call_stack) out << indent << "  |   " << frame << '\n';
  }
  if (graph.awaited_by.empty()) return;
  out << indent << "  + Awaited by:\n";
  for (const FutureCallGraph& waiting : graph.awaited_by) render(out, waiting, level + 1);
}

}  // namespace

FutureCallGraph capture_call_graph(const AnyFuture& future, std::optional<int> limit) {
  return Capture(limit).capture(future);
}

std::optional<FutureCallGraph> capture_call_graph(std::optional<int> limit) {
  const AnyTask task = current_task();
  if (!task.valid()) return std::nullopt;
  return capture_call_graph(task, limit);
}

std::string format_call_graph(const FutureCallGraph& graph) {
  std::ostringstream out;
  render(out, graph, 0);
  return out.str();
}
std::string format_call_graph(const AnyFuture& future, std::optional<int> limit) {
  return format_call_graph(capture_call_graph(future, limit));
}
std::string format_call_graph(std::optional<int> limit) {
  const std::optional<FutureCallGraph> graph = capture_call_graph(limit);
  return graph ? format_call_graph(*graph) : std::string();
}

void print_call_graph(const AnyFuture& future, std::ostream& out, std::optional<int> limit) {
  out << format_call_graph(future, limit);
}
void print_call_graph(const AnyFuture& future, std::optional<int> limit) {
  print_call_graph(future, std::cout, limit);
}
void print_call_graph(std::optional<int> limit) { std::cout << format_call_graph(limit); }

}  // namespace fibrio
