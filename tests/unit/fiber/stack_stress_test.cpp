// StackPool and StackCache under threads; the point is ThreadSanitizer and the ownership stamps.
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "fiber/stack_cache.hpp"
#include "fiber/stack_pool.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace fibrio::detail;

namespace {

constexpr std::size_t kKiB = 1024;
constexpr int kThreads = 4;

}  // namespace

TEST_CASE("StackPool never gives one stack to two owners", "[stack_pool][stress]") {
  const int rounds = fibrio::test::kAnySanitizer ? 200'000 : 1'000'000;
  StackPool pool({.slab_bytes = 1024 * kKiB});
  std::atomic<int> broken{0};
  std::atomic<int> running{kThreads};
  // Stacks go through here to other threads, as fibers that are stolen do.
  std::mutex shared_lock;
  std::vector<Stack*> shared;

  std::vector<std::thread> threads;
  for (int number = 1; number <= kThreads; ++number) {
    threads.emplace_back([&, number] {
      std::mt19937 random(static_cast<unsigned>(number));
      StackCache cache(pool);
      std::vector<Stack*> mine;
      std::array<std::size_t, 3> sizes = {16 * kKiB, 64 * kKiB, 256 * kKiB};
      // The owner's stamp: at the end that a fiber touches first.
      auto stamp = [&](Stack* stack) { std::memset(stack->start() - 64, number, 64); };
      auto check = [&](Stack* stack) { broken += *(stack->start() - 64) != static_cast<std::byte>(number); };
      for (int round = 0; round < rounds; ++round) {
        unsigned choice = random() % 16;
        if (choice < 8 && mine.size() < 100) {
          mine.push_back(cache.acquire(sizes[random() % sizes.size()]));
          stamp(mine.back());
        } else if (choice < 14 && !mine.empty()) {
          std::swap(mine[random() % mine.size()], mine.back());
          check(mine.back());
          cache.release(mine.back());
          mine.pop_back();
        } else if (choice == 14 && !mine.empty()) {
          check(mine.back());
          std::lock_guard hold(shared_lock);
          shared.push_back(mine.back());
          mine.pop_back();
        } else if (choice == 15) {
          std::lock_guard hold(shared_lock);
          if (!shared.empty()) {
            cache.release(shared.back());
            shared.pop_back();
          }
        }
        if (round % 1000 == 0) cache.give_back_cold(round, 1000);
        StackInfo info{};
        if (round % 500 == 0 && !mine.empty()) {
          broken += !pool.describe(mine.back()->low, info) || info.low != mine.back()->low;
        }
      }
      for (Stack* stack : mine) cache.release(stack);
      --running;
    });
  }
  std::int64_t now = 0;
  while (running > 0) {
    pool.trim(++now, 1, 64);
    static_cast<void>(pool.stats());
  }
  for (std::thread& thread : threads) thread.join();
  for (Stack* stack : shared) pool.release(stack);
  CHECK(broken == 0);
  CHECK(pool.stats().in_use == 0);
  for (int call = 0; call < 3; ++call) pool.trim(++now, 1);
  CHECK_FALSE(pool.has_untrimmed());
}
