// run: the main entry point, as asyncio.run; Runner: several runs on one loop.
//
//   int main() {
//     return fibrio::run([] { fibrio::sleep(1s); return 0; });
//   }
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "fibrio/config.hpp"
#include "fibrio/event_loop.hpp"

namespace fibrio {

// Runs callables on one loop, one after the other, and shuts the loop down as asyncio.run does: remaining
// tasks are cancelled and waited for (also those that their clean-up creates, for some rounds), errors of
// theirs go to the exception handler, the default executor is drained (300 s at most), the loop is closed.
class Runner {
 public:
  explicit Runner(Config config = Config::load());
  // As close(); errors go to the exception handler.
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Runs `main` as a task and returns its result or throws what it ended with. May be called again: all runs
  // have one context, a copy of the caller's at the first.
  // In the main thread, and if SIGINT has its default action, the first SIGINT cancels the task; run throws
  // KeyboardInterrupt if it ends as cancelled by that alone. A second SIGINT ends the process.
  // Throws: RuntimeError inside a running loop, or after close().
  template <class F>
  auto run(F&& main) {
    EventLoop& loop = get_loop();
    loop.require_runnable();
    auto task = loop.create_task(main_options(), std::forward<F>(main));
    run_task(task);
    return EventLoop::await_done(std::move(task));
  }
  // The loop, made on first use. Throws: RuntimeError after close().
  [[nodiscard]] EventLoop& get_loop();
  // Shuts the loop down; idempotent.
  void close();

 private:
  [[nodiscard]] TaskOptions main_options();
  void run_task(const AnyTask& task);

  Config config_;
  std::unique_ptr<EventLoop> loop_;
  std::optional<Context> context_;  // of every run
  bool closed_ = false;
};

// Runs `main` on a new loop and returns its result, having shut the loop down. Threads: a plain thread.
// Throws: what main throws; RuntimeError inside a running loop; ConfigError. asyncio: run.
template <class F>
auto run(F&& main, Config config = Config::load()) {
  Runner runner(config);
  if constexpr (std::is_void_v<decltype(runner.run(std::forward<F>(main)))>) {
    runner.run(std::forward<F>(main));
    runner.close();
  } else {
    auto result = runner.run(std::forward<F>(main));
    runner.close();
    return result;
  }
}

}  // namespace fibrio
