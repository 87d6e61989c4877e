// What: HandlerFd: no signal handler uses the fd once `withdraw` has returned.
#include "loop/handler_fd.hpp"

#include "support/catch.hpp"
#include "support/model/model.hpp"

namespace model = fibrio::model;
using HandlerFd = fibrio::detail::BasicHandlerFd<model::Atomic>;

TEST_CASE("HandlerFd: handlers on other threads are done before the fd is closed", "[model][signals]") {
  const auto result = model::explore({.preemption_bound = 3}, [](model::Execution& execution) {
    HandlerFd pipe;
    model::Var<bool> is_open{true};
    pipe.publish(3);
    for (int i = 0; i < 2; ++i) {
      execution.thread([&] {
        pipe.use([&](int fd) {
          model::check(fd == 3, "the fd that was published");
          model::check(is_open.get(), "used after it was closed");
        });
      });
    }
    execution.thread([&] {
      pipe.withdraw();
      is_open.set(false);
    });
    execution.join();
    bool is_used = false;
    pipe.use([&](int) { is_used = true; });
    model::check(!is_used, "nothing to use any more");
  });
  CHECK(result);
  CHECK(result.exhausted);
}
