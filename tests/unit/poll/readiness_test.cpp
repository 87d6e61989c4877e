// What: the readiness word by itself; its races are in tests/model/wait_test.cpp.
#include "poll/readiness.hpp"

#include "support/catch.hpp"

using fibrio::detail::Readiness;

TEST_CASE("Readiness is cleared by who saw all events", "[readiness]") {
  Readiness<> readiness;
  CHECK_FALSE(readiness.is_ready());
  readiness.on_event(false);
  CHECK(readiness.is_ready());
  readiness.drained(readiness.look());
  CHECK_FALSE(readiness.is_ready());
  readiness.on_event(false);
  readiness.would_block(readiness.look());
  CHECK_FALSE(readiness.is_ready());
}

TEST_CASE("Readiness overlooks no event between a call and its clear, however many come", "[readiness]") {
  // tokio#6133, #8331: an 8-bit tick is back after 256 events, a 16-bit one after 65,536.
  for (const int events : {1, 255, 256, 257, 65'535, 65'536, 65'537}) {
    Readiness<> readiness;
    readiness.on_event(false);
    const auto seen = readiness.look();
    for (int i = 0; i < events; ++i) readiness.on_event(false);
    readiness.would_block(seen);
    CHECK(readiness.is_ready());
    readiness.drained(seen);
    CHECK(readiness.is_ready());
  }
}

TEST_CASE("Readiness stays set after a hang-up though a call gave less than was asked", "[readiness]") {
  Readiness<> readiness;
  readiness.on_event(true);
  readiness.drained(readiness.look());
  CHECK(readiness.is_ready());
  readiness.on_event(false);
  readiness.drained(readiness.look());
  CHECK(readiness.is_ready());
}

TEST_CASE("Readiness is cleared after an error that is none any more: the task would spin", "[readiness]") {
  Readiness<> readiness;
  readiness.on_event(true);
  readiness.would_block(readiness.look());
  CHECK_FALSE(readiness.is_ready());
  readiness.on_event(false);
  CHECK(readiness.is_ready());
}

TEST_CASE("Readiness of a recycled object starts anew", "[readiness]") {
  Readiness<> readiness;
  readiness.on_event(true);
  readiness.reset(false);
  CHECK_FALSE(readiness.is_ready());
  readiness.reset(true);
  readiness.drained(readiness.look());
  CHECK_FALSE(readiness.is_ready());
}
