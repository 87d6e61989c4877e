// A made-up database: a look-up is a wait. A client library that blocks its thread would be called by
// fibrio::to_thread.
#pragma once

#include <fibrio/fibrio.hpp>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>

namespace service {

class Database {
 public:
  explicit Database(fibrio::Duration time) : time_(time) {}

  nlohmann::json load_catalog() { return answer({{"apples", 3}, {"pears", 5}}); }
  nlohmann::json orders_of(const std::string& user) { return answer({{{"buyer", user}, {"apples", 2}}}); }
  nlohmann::json messages_to(const std::string& user) { return answer({"Welcome, " + user}); }
  std::size_t count_words(const std::string& text) {
    if (text.empty()) throw std::invalid_argument("there is no text");
    std::istringstream words(text);
    answer({});
    return static_cast<std::size_t>(std::distance(std::istream_iterator<std::string>(words), {}));
  }

 private:
  nlohmann::json answer(nlohmann::json rows) const {
    fibrio::sleep(time_);
    return rows;
  }

  const fibrio::Duration time_;
};

}  // namespace service
