#include "differential/interpreter.hpp"

#include <algorithm>
#include <mutex>

#include "differential/operations.hpp"

namespace fibrio::test {

namespace {

const Operations& all_operations() {
  static const Operations operations = [] {
    Operations table;
    add_task_operations(table);
    add_scope_operations(table);
    add_waiting_operations(table);
    add_sync_operations(table);
    add_queue_operations(table);
    add_future_operations(table);
    add_context_operations(table);
    return table;
  }();
  return operations;
}

Operation find_operation(const std::string& name) {
  const auto found = all_operations().find(name);
  if (found == all_operations().end()) throw std::logic_error("there is no operation '" + name + "'");
  return found->second;
}

Json group_name(const ExceptionGroup& group) {
  std::vector<std::string> members;
  for (const std::exception_ptr& member : group.exceptions()) members.push_back(error_name(member).dump());
  std::sort(members.begin(), members.end());
  Json name = Json::array({"EG"});
  for (std::string& member : members) name.push_back(std::move(member));
  return name;
}

// The program's main function: spawns task `m` and awaits it.
void run_main(Run& run, const Json& program) {
  const Task<Json> task = run.start(program, "m");
  Json value;
  try {
    value = await(task);
  } catch (...) {
    value = Json::array({"!", error_name(std::current_exception())});
  }
  run.emit({run.now(), "main", value});
}

template <class Q>
void end_queue(Q& queue) {
  queue.shutdown(true);
  try {
    for (;;) queue.task_done();
  } catch (const std::invalid_argument&) {
  }
}

// Ends every wait of a program, masked ones too, which close() cannot end. A task that goes on ends at
// its next operation; what it holds is given back here.
void end_waits(Run& run) {
  constexpr int kRounds = 100;  // a lock goes from one waiter to the next
  for (int round = 0; round < kRounds && all_tasks().size() > 1; ++round) {
    for (const auto& [name, task] : run.tasks) task.cancel();
    for (const auto& [name, future] : run.futures) future.cancel();
    run.locks.for_each([](Lock& lock) {
      if (lock.locked()) lock.unlock();
    });
    run.events.for_each([](Event& event) { event.set(); });
    run.conditions.for_each([](Condition& condition) {
      if (const std::unique_lock lock(condition, std::try_to_lock); lock.owns_lock()) condition.notify_all();
    });
    run.semaphores.for_each([](Semaphore& semaphore) { semaphore.release(); });
    run.bounded_semaphores.for_each([](BoundedSemaphore& semaphore) {
      if (semaphore.locked()) semaphore.release();
    });
    run.barriers.for_each([](Barrier& barrier) { barrier.abort(); });
    for (auto& [name, queue] : run.queues) std::visit([](auto& each) { end_queue(each); }, *queue);
    sleep(std::chrono::seconds(1));  // those that sleep go on too
  }
}

// Or those that nobody retrieved would be reported on stderr, when their last handles go.
void see_exceptions(const Run& run) {
  const auto see = [](const AnyFuture& future) {
    if (future.done() && !future.cancelled()) static_cast<void>(future.exception());
  };
  for (const auto& [name, task] : run.tasks) see(task);
  for (const auto& [name, future] : run.futures) see(future);
}

Config config_of(Place place) {
  Config config;
  config.workers = place == Place::kOneWorker ? 1 : 4;
  config.virtual_time = true;
  config.seed = 1;
  config.max_blocking_threads = 1;
  return config;
}

}  // namespace

Json error_name(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const ExceptionGroup& group) {
    return group_name(group);
  } catch (const CancelledError&) {
    return "CancelledError";
  } catch (const TimeoutError&) {
    return "TimeoutError";
  } catch (const KeyError&) {
    return "KeyError";
  } catch (const ValueError&) {
    return "ValueError";
  } catch (const std::invalid_argument&) {
    return "ValueError";
  } catch (const InvalidStateError&) {
    return "InvalidStateError";
  } catch (const BrokenBarrierError&) {
    return "BrokenBarrierError";
  } catch (const QueueShutDown&) {
    return "QueueShutDown";
  } catch (const RuntimeError&) {
    return "RuntimeError";
  } catch (const std::exception& other) {
    return std::string("unexpected: ") + other.what();
  } catch (const ProgramOver&) {
    return "ProgramOver";
  }
}

std::int64_t Run::now() const {
  return std::chrono::floor<std::chrono::seconds>(loop.time().time_since_epoch()).count();
}

void Run::emit(Json event) {
  if (!over) trace.push_back(std::move(event));
}

void Run::run_body(const Json& body, const std::string& name, Frame& frame) {
  const AnyTask task = current_task();
  for (std::size_t i = 0; i < body.size(); ++i) {
    if (over) throw ProgramOver();
    const std::string label = name + "." + std::to_string(i);
    const std::string& operation = body[i][0].get_ref<const std::string&>();
    Json result;
    std::exception_ptr error;
    try {
      result = find_operation(operation)({*this, frame, body[i], label});
    } catch (...) {
      error = std::current_exception();  // nothing is emitted, and nobody waits, inside a handler
    }
    if (error != nullptr) {
      emit({now(), name, i, operation, "!", error_name(error), task.cancelling()});
      std::rethrow_exception(error);
    }
    emit({now(), name, i, operation, std::move(result), task.cancelling()});
  }
}

std::vector<Task<Json>> Run::start_all(const Json& bodies, const std::string& label) {
  std::vector<Task<Json>> started;
  for (std::size_t j = 0; j < bodies.size(); ++j)
    started.push_back(start(bodies[j], label + "." + std::to_string(j)));
  return started;
}

std::optional<Task<Json>> Run::find_task(const std::string& name) const {
  const auto found = tasks.find(name);
  if (found == tasks.end()) return std::nullopt;
  return found->second;
}

Future<Json>& Run::future(const std::string& name) {
  Future<Json>& named = futures[name];
  if (!named.valid()) named = loop.create_future<Json>();
  return named;
}

std::optional<Future<Json>> Run::find_target(const std::string& target) {
  const std::string name = target.substr(2);
  if (target.starts_with("f:")) return future(name);
  if (const auto task = find_task(name)) return *task;
  return std::nullopt;
}

Json run_program(const Json& program, Place place) {
  EventLoop loop(config_of(place));
  loop.set_exception_handler([](EventLoop&, const ExceptionContext&) {});
  Run run(loop);
  Strand strand;
  const auto run_in_place = [&](auto function) {
    TaskOptions options;
    if (place == Place::kStrand) options.strand = &strand;
    loop.run_until_complete(loop.create_task(options, function));
  };
  try {
    run_in_place([&] { run_main(run, program); });
    run.emit({run.now(), "end", "ok"});
  } catch (const DeadlockError&) {
    run.emit({run.now(), "end", "deadlock"});
  }
  run.over = true;
  if (run.has_masks) run_in_place([&] { end_waits(run); });
  loop.close();  // what is left unwinds while the program's objects are there
  see_exceptions(run);
  return std::move(run.trace);
}

}  // namespace fibrio::test
