// The default exception handler's lines on stderr, whatever an exception says.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "fibrio/event_loop.hpp"
#include "support/catch.hpp"
#include "task/report.hpp"

namespace {

// What print_report writes to stderr.
std::string printed(const fibrio::ExceptionContext& context) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  std::fflush(stderr);
  const int before = ::dup(2);
  ::dup2(ends[1], 2);
  fibrio::detail::print_report(context);
  std::fflush(stderr);
  ::dup2(before, 2);
  ::close(before);
  ::close(ends[1]);
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(::read(ends[0], text.data(), text.size())));
  ::close(ends[0]);
  return text;
}

}  // namespace

TEST_CASE("A report has one line for what an exception says", "[report][ends]") {
  const auto exception =
      std::make_exception_ptr(std::runtime_error("a name '\r\nfibrio: forged\x1b[2J\x7f\tend' \xc3\xa4"));
  CHECK(printed({.message = "what happened", .exception = exception}) ==
        "fibrio: what happened: a name '\\x0d\\nfibrio: forged\\x1b[2J\\x7f\tend' \xc3\xa4\n");
}
