// Trees of tasks on several workers: who joins lets what it forked run newest first (docs/decisions/0014).
#include <algorithm>
#include <atomic>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "support/catch.hpp"

namespace {

struct Tree {
  std::atomic<int> alive{0};  // begun, and not ended
  std::atomic<int> most{0};
  std::atomic<int> ended{0};

  void grow(int depth) {
    const int now = ++alive;
    for (int seen = most.load(); now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    if (depth > 0) {
      auto left = fibrio::create_task([this, depth] { grow(depth - 1); });
      auto right = fibrio::create_task([this, depth] { grow(depth - 1); });
      fibrio::await(left);
      fibrio::await(right);
    }
    --alive;
    ++ended;
  }
};

}  // namespace

TEST_CASE("A tree of tasks is walked depth first on several workers", "[tasks]") {
  constexpr int kDepth = 13;
  for (const std::size_t workers : {2, 4}) {
    INFO(workers << " workers");
    Tree tree;
    fibrio::Config config;
    config.workers = workers;
    fibrio::run([&] { tree.grow(kDepth); }, config);
    CHECK(tree.ended == (2 << kDepth) - 1);
    // Breadth first it would be half of them. A path and its neighbours for each worker, and for each turn of what
    // is overtaken: one per 100 us.
    CHECK(tree.most < (2 << kDepth) / 8);
  }
}

TEST_CASE("What was ready before a tree of tasks has its turn while that is walked", "[tasks]") {
  fibrio::Config config;
  config.workers = 2;
  std::atomic<bool> tree_has_ended{false};
  std::atomic<int> early{0};
  fibrio::run(
      [&] {
        std::vector<fibrio::Task<>> before;
        for (int i = 0; i < 5; ++i) {
          before.push_back(fibrio::create_task([&] {
            fibrio::yield();
            if (!tree_has_ended) ++early;
          }));
        }
        Tree tree;
        fibrio::await(fibrio::create_task([&] { tree.grow(17); }));
        tree_has_ended = true;
        for (auto& task : before) fibrio::await(task);
      },
      config);
  CHECK(early == 5);
}
