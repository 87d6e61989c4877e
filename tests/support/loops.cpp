#include "support/loops.hpp"

namespace fibrio::test {

void check_idle(EventLoop& loop) {
  const LoopStats stats = loop.stats();
  CHECK(stats.tasks_alive == 0);
  CHECK(stats.tasks_spawned == stats.tasks_finished);
  CHECK(stats.stacks_in_use == 0);
  CHECK(stats.timers == 0);
  CHECK(stats.fds == 0);
}

void on_loop(LoopKind kind, Config config, LoopBody body) {
  INFO("workers " << kind.workers << (kind.migrates ? ", forced migration" : ""));
  const NothingLeft nothing_left;
  const ScopedVariable migration("FIBRIO_FORCE_MIGRATION", kind.migrates ? "1" : nullptr);
  config.workers = kind.workers;
  {
    EventLoop loop(config);
    body(loop);
    report_failures();
    check_idle(loop);
    loop.close();
    CHECK(loop.stats().stacks_in_use == 0);
  }
  report_failures();
}

void on_loops(LoopBody body, bool virtual_time) {
  for (const LoopKind kind : kAllKinds) on_loop(kind, test_config(kind.workers, virtual_time), body);
}
void on_parallel_loops(LoopBody body, bool virtual_time) {
  for (const LoopKind kind : kParallelKinds) on_loop(kind, test_config(kind.workers, virtual_time), body);
}
void on_one_worker(LoopBody body, bool virtual_time) {
  on_loop({1, false}, test_config(1, virtual_time), body);
}

void in_tasks(LoopBody main, bool virtual_time) {
  on_loops([&](EventLoop& loop) { loop.run_until_complete([&] { main(loop); }); }, virtual_time);
}

void in_order(LoopBody main) {
  on_one_worker([&](EventLoop& loop) { loop.run_until_complete([&] { main(loop); }); });
  const auto on_strand = [&](EventLoop& loop) {
    Strand strand;
    loop.run_until_complete([&] { strand.run([&] { main(loop); }); });
  };
  on_loop({4, false}, test_config(4), on_strand);
  on_loop({4, true}, test_config(4), on_strand);
}

bool eventually(FunctionRef<bool()> condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s * kSlowdown;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

bool eventually_in_task(FunctionRef<bool()> condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s * kSlowdown;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    fibrio::yield();
  }
  return true;
}

}  // namespace fibrio::test
