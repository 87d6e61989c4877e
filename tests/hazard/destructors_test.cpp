// Exceptions out of, and waits inside, destructors that the library calls.
#include <stdexcept>

#include "support/setups.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

struct ThrowsInDestructor {
  ~ThrowsInDestructor() noexcept(false) {
    fibrio::yield();
    throw std::runtime_error("from a destructor");
  }
};

struct CatchesInDestructor {
  std::atomic<int>& count;
  ~CatchesInDestructor() {
    try {
      fibrio::sleep(10us);
      throw std::runtime_error("inside");
    } catch (const std::runtime_error&) {
      fibrio::yield();
      ++count;
    }
  }
};

}  // namespace

TEST_CASE("A destructor that throws at the end of a task's scope ends the task with that exception",
          "[destructors]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      for (int i = 0; i < 20; ++i) {
        auto task = fibrio::create_task([] { const ThrowsInDestructor throws; });
        try {
          fibrio::await(task);
          expect(false, "the exception is gone");
        } catch (const std::runtime_error& error) {
          expect(std::string(error.what()) == "from a destructor", "another exception");
        }
      }
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("A destructor throws, waits and catches while its task unwinds", "[destructors]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    std::atomic<int> count{0};
    run_with(setup, [&] {
      std::vector<fibrio::Task<>> tasks;
      for (int i = 0; i < 30; ++i) {
        tasks.push_back(fibrio::create_task([&] {
          const CatchesInDestructor first{count};
          const CatchesInDestructor second{count};
          throw std::logic_error("outer");
        }));
      }
      for (auto& task : tasks) {
        try {
          fibrio::await(task);
          expect(false, "the exception is gone");
        } catch (const std::logic_error& error) {
          expect(std::string(error.what()) == "outer", "another exception");
        }
      }
    });
    CHECK(expect.failures() == "");
    CHECK(count == 60);
  });
}

TEST_CASE("Captured objects of a task wait in their destructors, also when it is cancelled before it starts",
          "[destructors]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    std::atomic<int> destroyed{0};
    run_with(setup, [&] {
      struct Waits {
        std::atomic<int>* destroyed;
        explicit Waits(std::atomic<int>& count) : destroyed(&count) {}
        Waits(Waits&& other) noexcept : destroyed(std::exchange(other.destroyed, nullptr)) {}
        ~Waits() {
          if (destroyed == nullptr) return;
          fibrio::yield();
          fibrio::sleep(10us);
          ++*destroyed;
        }
      };
      std::vector<fibrio::Task<>> tasks;
      for (int i = 0; i < 30; ++i) {
        tasks.push_back(fibrio::create_task([waits = Waits(destroyed)] {}));
        if (i % 2 == 0) tasks.back().cancel();
      }
      for (auto& task : tasks) task.wait();
      expect(destroyed == 30, "a task is done before its captures are destroyed");
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("A result's destructor runs exactly once, wherever the last handle goes", "[destructors]") {
  struct Counted {
    std::atomic<int>* alive;
    explicit Counted(std::atomic<int>& count) : alive(&count) { ++*alive; }
    Counted(Counted&& other) noexcept : alive(other.alive) { ++*alive; }
    Counted(const Counted& other) noexcept : alive(other.alive) { ++*alive; }
    ~Counted() { --*alive; }
  };
  with_all_setups([](const Setup& setup) {
    std::atomic<int> alive{0};
    run_with(setup, [&] {
      std::vector<fibrio::Task<Counted>> tasks;
      for (int i = 0; i < 40; ++i) {
        auto task = fibrio::create_task([&alive] {
          fibrio::yield();
          return Counted(alive);
        });
        if (i % 4 == 0) tasks.push_back(task);                              // read below
        if (i % 4 == 1) task.cancel();                                      // its value, if any, is lost
        if (i % 4 == 2) static_cast<void>(fibrio::await(std::move(task)));  // moved out
      }
      for (auto& task : tasks) static_cast<void>(fibrio::await(task).alive);
    });
    CHECK(alive == 0);
  });
}

TEST_CASE("A value whose destructor waits may be dropped by the task's own end", "[destructors]") {
  struct Waits {
    std::atomic<int>* destroyed;
    explicit Waits(std::atomic<int>& count) : destroyed(&count) {}
    Waits(Waits&& other) noexcept : destroyed(std::exchange(other.destroyed, nullptr)) {}
    ~Waits() {
      if (destroyed == nullptr) return;
      fibrio::yield();
      ++*destroyed;
    }
  };
  with_all_setups([](const Setup& setup) {
    std::atomic<int> destroyed{0};
    run_with(setup, [&] {
      for (int i = 0; i < 20; ++i) {
        static_cast<void>(fibrio::create_task([&] { return Waits(destroyed); }));  // nobody has a handle
      }
      for (int i = 0; i < 2000 && destroyed < 20; ++i) fibrio::sleep(1ms);
    });
    CHECK(destroyed == 20);
  });
}
