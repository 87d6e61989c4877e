#include <fibrio/version.hpp>
#include <string>

#include "support/catch.hpp"

namespace {

TEST_CASE("version of the linked library is the version of the headers", "[version]") {
  const std::string expected = std::to_string(fibrio::kVersionMajor) + "." +
                               std::to_string(fibrio::kVersionMinor) + "." +
                               std::to_string(fibrio::kVersionPatch);
  REQUIRE(fibrio::version() == expected);
}

}  // namespace
