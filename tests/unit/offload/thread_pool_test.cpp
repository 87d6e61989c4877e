#include "pool_support.hpp"

using namespace pool_test;

TEST_CASE("ThreadPool returns values and exceptions of calls", "[thread_pool]") {
  ThreadPool pool(2);
  CHECK(value_of(pool.submit([](int a, int b) { return a * b; }, 6, 7)) == 42);
  const Future<> failed = pool.submit([] { throw std::out_of_range("no such thing"); });
  wait_done(failed);
  CHECK_THROWS_AS(failed.result(), std::out_of_range);
  const auto pointer = std::make_unique<int>(5);
  CHECK(*value_of(pool.submit([](std::unique_ptr<int> p) { return p; }, std::make_unique<int>(5))) ==
        *pointer);
  struct Counter {
    int add(int n) { return count += n; }
    int count = 1;
  } counter;
  CHECK(value_of(pool.submit(&Counter::add, &counter, 2)) == 3);
}

TEST_CASE("ThreadPool refuses limits out of range", "[thread_pool]") {
  CHECK_THROWS_AS(ThreadPool(4097), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPool(1, -1ns), std::invalid_argument);
  CHECK(ThreadPool(4096).max_threads() == 4096);
  const ThreadPool standard;
  CHECK(standard.max_threads() >= 5);
  CHECK(standard.max_threads() <= 32);
}

TEST_CASE("ThreadPool starts no thread before the first call", "[thread_pool]") {
  const std::size_t before = threads_of_process();
  const ThreadPool pool(4);
  CHECK(pool.threads() == 0);
  CHECK(threads_of_process() <= before);
}

TEST_CASE("ThreadPool grows with the work up to its limit and queues the rest", "[thread_pool]") {
  Gate gate;
  ThreadPool pool(3);
  const OpenAtEnd open_at_end(gate);
  std::vector<Future<>> futures;
  for (int i = 0; i < 5; ++i) futures.push_back(pool.submit(gate.visitor()));
  gate.wait_entered(3);
  CHECK(pool.threads() == 3);
  CHECK(pool.queued() == 2);
  gate.open();
  for (const Future<>& future : futures) wait_done(future);
  CHECK(pool.threads() == 3);
  CHECK(pool.queued() == 0);
}

TEST_CASE("ThreadPool prefers an idle thread to a new one", "[thread_pool]") {
  ThreadPool pool(8);
  for (int i = 0; i < 50; ++i) {
    wait_done(pool.submit([] {}));
    REQUIRE(eventually([&] { return impl(pool).idle() == 1; }));
  }
  CHECK(pool.threads() == 1);
}

TEST_CASE("ThreadPool does not count one idle thread for two calls", "[thread_pool]") {
  Gate gate;
  ThreadPool pool(8);
  const OpenAtEnd open_at_end(gate);
  wait_done(pool.submit([] {}));
  REQUIRE(eventually([&] { return impl(pool).idle() == 1; }));
  const Future<> first = pool.submit(gate.visitor());
  const Future<> second = pool.submit(gate.visitor());
  gate.wait_entered(2);
  CHECK(pool.threads() == 2);
}

TEST_CASE("ThreadPool runs calls in the order in which they came", "[thread_pool]") {
  Gate gate;
  ThreadPool pool(1);
  const OpenAtEnd open_at_end(gate);
  std::vector<int> order;  // one thread: no lock
  std::vector<Future<>> futures{pool.submit(gate.visitor())};
  for (int i = 0; i < 100; ++i) futures.push_back(pool.submit([&order, i] { order.push_back(i); }));
  gate.open();
  for (const Future<>& future : futures) wait_done(future);
  CHECK(order.size() == 100);
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("ThreadPool lets idle threads leave after keep_alive and starts new ones later", "[thread_pool]") {
  ThreadPool pool(4, 1ms);
  std::vector<Future<>> futures;
  for (int i = 0; i < 4; ++i) futures.push_back(pool.submit([] {}));
  for (const Future<>& future : futures) wait_done(future);
  CHECK(eventually([&] { return pool.threads() == 0; }));
  CHECK(value_of(pool.submit([] { return 1; })) == 1);
}

TEST_CASE("ThreadPool works with the shortest and the longest keep_alive", "[thread_pool]") {
  ThreadPool hasty(2, 0ns);
  for (int i = 0; i < 100; ++i) CHECK(value_of(hasty.submit([i] { return i; })) == i);
  CHECK(eventually([&] { return hasty.threads() == 0; }));
  ThreadPool lasting(2, fibrio::Duration::max());
  CHECK(value_of(lasting.submit([] { return 1; })) == 1);
  CHECK(eventually([&] { return impl(lasting).idle() == 1; }));
}

TEST_CASE("ThreadPool shrinks to one thread under a trickle of calls", "[thread_pool]") {
  Gate gate;
  ThreadPool pool(6, 20ms);
  const OpenAtEnd open_at_end(gate);
  std::vector<Future<>> burst;
  for (int i = 0; i < 6; ++i) burst.push_back(pool.submit(gate.visitor()));
  gate.wait_entered(6);
  gate.open();
  for (const Future<>& future : burst) wait_done(future);
  CHECK(eventually([&] {
    wait_done(pool.submit([] {}));
    return pool.threads() == 1;
  }));
}

TEST_CASE("ThreadPool threads carry its name and block signals but not faults", "[thread_pool]") {
  ThreadPool pool(1, 10s, "a-name-that-is-long");
  const std::string name = value_of(pool.submit([] {
    char buffer[16] = {};
    ::pthread_getname_np(::pthread_self(), buffer, sizeof buffer);
    return std::string(buffer);
  }));
  CHECK(name == "a-name-that-i-0");
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  sigset_t inside;
  wait_done(pool.submit([&] { ::pthread_sigmask(SIG_SETMASK, nullptr, &inside); }));
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGALRM, SIGPIPE}) {
    CHECK(::sigismember(&inside, signal) == 1);
    CHECK(::sigismember(&before, signal) == 0);
  }
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
    CHECK(::sigismember(&inside, fault) == 0);
}

TEST_CASE("ThreadPool takes a cancelled call out of the queue and destroys it at once", "[thread_pool]") {
  Gate gate;
  ThreadPool pool(1);
  const OpenAtEnd open_at_end(gate);
  const Future<> blocker = pool.submit(gate.visitor());
  gate.wait_entered(1);
  std::atomic<int> destroyed{0};
  std::atomic<bool> ran{false};
  Future<> queued = pool.submit([&ran, token = Token(destroyed)] { ran = true; });
  CHECK(pool.queued() == 1);
  CHECK(queued.cancel());
  CHECK(pool.queued() == 0);
  CHECK(destroyed == 1);
  CHECK(queued.cancelled());
  CHECK_FALSE(queued.cancel());
  gate.open();
  wait_done(blocker);
  CHECK(pool.shutdown() == 0);
  CHECK_FALSE(ran);
}

TEST_CASE("ThreadPool drops the result of a call whose future was cancelled while it ran", "[thread_pool]") {
  Gate gate;
  std::atomic<int> destroyed{0};
  ThreadPool pool(1);
  const OpenAtEnd open_at_end(gate);
  Future<std::shared_ptr<Token>> future = pool.submit([&] {
    gate.enter();
    return std::make_shared<Token>(destroyed);
  });
  gate.wait_entered(1);
  CHECK(future.cancel());
  CHECK(pool.queued() == 0);
  gate.open();
  CHECK(pool.shutdown() == 0);
  CHECK(future.cancelled());
  CHECK(destroyed == 1);
}

TEST_CASE("ThreadPool takes a call back when somebody else completes its future", "[thread_pool]") {
  Gate gate;
  ThreadPool pool(1);
  const OpenAtEnd open_at_end(gate);
  const Future<> blocker = pool.submit(gate.visitor());
  gate.wait_entered(1);
  Future<int> queued = pool.submit([] { return 1; });
  queued.set_result(2);
  CHECK(pool.queued() == 0);
  CHECK(queued.result() == 2);
}

TEST_CASE("ThreadPool destroys the callable and its arguments before the future is done", "[thread_pool]") {
  ThreadPool pool(2);
  for (int i = 0; i < 200; ++i) {
    std::atomic<int> destroyed{0};
    wait_done(pool.submit([token = Token(destroyed)](const Token&) {}, Token(destroyed)));
    CHECK(destroyed == 2);
    wait_done(pool.submit([token = Token(destroyed)]() -> int { throw std::runtime_error("failed"); }));
    CHECK(destroyed == 3);
  }
}

TEST_CASE("ThreadPool lets go of the future soon after its completion", "[thread_pool]") {
  ThreadPool pool(1);
  const Future<int> future = pool.submit([] { return 1; });
  wait_done(future);
  CHECK(eventually([&] { return future.state()->is_unique(); }));
}

TEST_CASE("ThreadPool refuses calls after shutdown", "[thread_pool]") {
  ThreadPool pool(1, 10s, "mine");
  CHECK(pool.shutdown() == 0);
  std::atomic<int> destroyed{0};
  try {
    (void)pool.submit([token = Token(destroyed)] {});
    FAIL("accepted");
  } catch (const fibrio::RuntimeError& error) {
    CHECK(std::string(error.what()) == "ThreadPool \"mine\" is shut down and takes no more calls");
  }
  CHECK(destroyed == 1);
}
