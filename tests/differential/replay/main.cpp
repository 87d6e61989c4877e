// differential_replay: reads programs, one JSON array per line, and writes the trace of each as one line, at once; with
// --strand inside one strand of a loop with 4 workers. What compares and generates them is differential.py.

#include <iostream>
#include <string>
#include <string_view>

#include "differential/interpreter.hpp"

int main(int argc, char** argv) {
  using fibrio::test::Place;
  const bool strand = argc > 1 && std::string_view(argv[1]) == "--strand";
  const Place place = strand ? Place::kStrand : Place::kOneWorker;
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto program = fibrio::test::Json::parse(line);
    std::cout << fibrio::test::run_program(program, place).dump() << std::endl;
  }
}
