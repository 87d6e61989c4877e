// How long the state of a task lives that others await: until the last of them has its result.
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fibrio/introspection.hpp>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Longer than what a string keeps in itself.
std::string long_text(int number) { return "the result of task number " + std::to_string(number); }

// Counts how many there are of it.
struct Counted {
  explicit Counted(std::atomic<int>& its_count) : count(&its_count) { count->fetch_add(1); }
  Counted(const Counted& other) : count(other.count) { count->fetch_add(1); }
  ~Counted() { count->fetch_sub(1); }
  std::atomic<int>* count;
};

void wait_until_it_awaits(const AnyTask& task) {
  while (inspect(task).reason != WaitReason::kTask) yield();
}

}  // namespace

TEST_CASE("A handle may be replaced while a task waits through it", "[await][lifetime]") {
  in_tasks([](EventLoop&) {
    for (int round = 0; round < 50; ++round) {
      Event go;
      std::optional<Task<std::string>> handle = create_task([&] {
        go.wait();
        return long_text(round);
      });
      auto reader = create_task([&] { handle->wait(); });
      wait_until_it_awaits(reader);
      handle = create_task([] { return std::string(); });
      handle->wait();
      TASK_CHECK(!reader.done());
      go.set();
      await(reader);
    }
  });
}

TEST_CASE("await says so if the handle was given another future meanwhile", "[await][lifetime]") {
  in_tasks([](EventLoop&) {
    for (const bool is_emptied : {false, true}) {
      Event go;
      Task<std::string> handle = create_task([&] {
        go.wait();
        return long_text(1);
      });
      auto reader = create_task([&] { static_cast<void>(await(handle)); });
      auto copier = create_task([its_own = handle] { return await(its_own); });
      wait_until_it_awaits(reader);
      wait_until_it_awaits(copier);
      handle = is_emptied ? Task<std::string>() : create_task([] { return long_text(2); });
      go.set();
      TASK_CHECK(throws<RuntimeError>([&] { await(reader); }));
      TASK_CHECK(await(copier) == long_text(1));
    }
  });
}

TEST_CASE("Several await one task whose handle is gone, and each gets its result", "[await][lifetime]") {
  std::atomic<int> count{0};
  in_tasks([&](EventLoop&) {
    for (int readers = 1; readers <= 5; ++readers) {
      Event go;
      std::optional<Task<Counted>> handle = create_task([&] {
        go.wait();
        return Counted(count);
      });
      std::vector<Task<void>> tasks;
      for (int i = 0; i < readers; ++i) {
        if (i % 2 == 0) {
          tasks.push_back(create_task([&] { handle->wait(); }));
        } else {
          tasks.push_back(
              create_task([&, its_own = *handle] { TASK_CHECK(await(its_own).count == &count); }));
        }
      }
      // Between those that await stand others that listen.
      std::atomic<int> told{0};
      handle->add_done_callback([&](const AnyFuture&) { told.fetch_add(1); });
      for (const auto& task : tasks) wait_until_it_awaits(task);
      handle->add_done_callback([&](const AnyFuture&) { told.fetch_add(1); });
      handle.reset();
      go.set();
      for (auto& task : tasks) await(task);
      while (told.load() < 2 || count.load() > 0) yield();
    }
  });
  CHECK(count.load() == 0);
}

TEST_CASE("A task that fails or is cancelled lives until who awaits it has the error", "[await][lifetime]") {
  in_tasks([](EventLoop&) {
    for (const bool fails : {false, true}) {
      Event go;
      std::optional<Task<int>> handle = create_task([&] {
        go.wait();
        if (fails) throw std::runtime_error(long_text(1));
        throw CancelledError(long_text(2));
        return 0;
      });
      auto reader = create_task([&]() -> std::string {
        try {
          const Task<int> its_own = *handle;
          handle.reset();
          static_cast<void>(await(its_own));
        } catch (const std::exception& error) {
          return error.what();
        } catch (const CancelledError& error) {
          return error.message();
        }
        return "";
      });
      wait_until_it_awaits(reader);
      go.set();
      TASK_CHECK(await(reader) == long_text(fails ? 1 : 2));
    }
  });
}

TEST_CASE("Who awaits and is cancelled has the task until that has ended", "[await][lifetime]") {
  std::atomic<int> count{0};
  in_tasks([&](EventLoop&) {
    for (int round = 0; round < 50; ++round) {
      std::optional<Task<void>> handle = create_task([&, kept = Counted(count)] {
        try {
          sleep(1h);
        } catch (const CancelledError&) {
          CancelMask mask;
          yield();
          throw;
        }
      });
      auto reader = create_task([&] { handle->wait(); });
      wait_until_it_awaits(reader);
      handle.reset();
      reader.cancel();
      reader.wait();
      TASK_CHECK(reader.cancelled());
    }
  });
  CHECK(count.load() == 0);
}

TEST_CASE("A task of another loop lives until who awaits it has its result", "[await][lifetime]") {
  EventLoop other(test_config(1, false));
  Future<> stop = other.create_future();
  std::thread thread([&] { other.run_until_complete([&] { await(stop); }); });
  for (const std::size_t workers : {1, 2, 4}) {
    EventLoop loop(test_config(workers, false));
    loop.run_until_complete([&] {
      for (int round = 0; round < 200 / kSlowdown; ++round) {
        std::vector<Task<std::string>> readers;
        for (int i = 0; i < 4; ++i) {
          readers.push_back(create_task([&other, i] {
            return await(other.create_task([i] {
              yield();
              return long_text(i);
            }));
          }));
        }
        for (int i = 0; i < 4; ++i) TASK_CHECK(await(readers[static_cast<std::size_t>(i)]) == long_text(i));
      }
    });
  }
  stop.set_result();
  thread.join();
  report_failures();
}
