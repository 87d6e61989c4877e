// A failed check inside a task names the task.
#include <string>

#include <fibrio/fibrio.hpp>

#include "base/check.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

TEST_CASE("A failed check names the task it happened in", "[check]") {
  const fibrio::test::ChildResult child = fibrio::test::run_in_child([] {
    fibrio::run(
        [] {
          fibrio::create_task(fibrio::TaskOptions{.name = "teapot"}, [] {
            FIBRIO_CHECK(false, "for the test");
          }).wait();
        },
        fibrio::Config{.workers = 1});
  });
  CHECK(child.signal != 0);
  CHECK(child.errors.find("in task 'teapot'") != std::string::npos);
}
