// differential_replay: reads programs, one JSON array per line, and writes the trace of each as one line, at once.
// What compares and generates them is differential.py.

#include <iostream>
#include <string>

#include "differential/interpreter.hpp"

int main() {
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto program = fibrio::test::Json::parse(line);
    std::cout << fibrio::test::run_program(program, fibrio::test::Place::kOneWorker).dump() << std::endl;
  }
}
