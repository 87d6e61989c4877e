// What: the type of programs, traces and all values in them.
#pragma once

#include <nlohmann/json.hpp>

namespace fibrio::test {

using Json = nlohmann::json;

}  // namespace fibrio::test
