// Every program of the corpus leaves the trace that asyncio leaves, event for event. The traces are kept, so that
// no Python is needed; the test "differential: the corpus is what asyncio does" derives them again.

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>

#include "differential/interpreter.hpp"
#include "support/catch.hpp"

namespace fibrio::test {

namespace {

// The first event that differs, for the report.
std::string difference(const Json& expected, const Json& got) {
  std::size_t i = 0;
  while (i < expected.size() && i < got.size() && expected[i] == got[i]) ++i;
  const auto text = [i](const Json& trace) { return i < trace.size() ? trace[i].dump() : "nothing"; };
  return "event " + std::to_string(i) + ": asyncio " + text(expected) + ", fibrio " + text(got);
}

// asyncio ends one pass after its main function; how much of that pass a strand still sees, and so what time it is in the
// end, is not determined.
bool differ_in_last_pass_only(const Json& expected, const Json& got) {
  const auto after_main = [](const Json& trace) {
    const auto is_main = [](const Json& event) { return event[1] == "main"; };
    const auto found = std::find_if(trace.begin(), trace.end(), is_main);
    return found == trace.end() ? found : std::next(found);
  };
  const auto rest = after_main(expected);
  const auto got_rest = after_main(got);
  if (rest == expected.end() || got_rest == got.end()) return false;
  if (!std::equal(expected.begin(), rest, got.begin(), got_rest)) return false;
  if (expected.back()[2] != got.back()[2]) return false;  // "ok"
  const auto shorter = std::min(std::distance(rest, expected.end()), std::distance(got_rest, got.end())) - 1;
  return std::equal(rest, std::next(rest, shorter), got_rest);
}

void replay(const std::string& corpus, Place place) {
  const std::string folder = std::string(FIBRIO_DIFFERENTIAL_DIR) + "/" + corpus;
  std::ifstream programs(folder + "/programs.jsonl");
  std::ifstream traces(folder + "/traces.jsonl");
  std::string program;
  std::string trace;
  std::size_t count = 0;
  for (; std::getline(programs, program); ++count) {
    REQUIRE(std::getline(traces, trace));
    if (count % kSlowdown != 0) continue;
    const Json expected = Json::parse(trace);
    const Json got = run_program(Json::parse(program), place);
    if (got == expected) continue;
    if (place == Place::kStrand && differ_in_last_pass_only(expected, got)) continue;
    INFO(corpus << ", line " << count + 1 << ": " << program);
    FAIL_CHECK(difference(expected, got));
  }
  CHECK(count >= 2000);
}

}  // namespace

TEST_CASE("The golden programs leave asyncio's traces on one worker", "[differential]") {
  replay("golden", Place::kOneWorker);
}

TEST_CASE("The programs of the corpus leave asyncio's traces on one worker", "[differential]") {
  replay("corpus", Place::kOneWorker);
}

TEST_CASE("The golden programs leave asyncio's traces inside a strand of four workers", "[differential]") {
  replay("golden", Place::kStrand);
}

TEST_CASE("The programs of the corpus leave asyncio's traces inside a strand of four workers",
          "[differential]") {
  replay("corpus", Place::kStrand);
}

}  // namespace fibrio::test
