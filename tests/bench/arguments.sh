#!/bin/sh
# arguments.sh <compiler>: proves that programs of bench/ refuse the arguments that bench/arguments.hpp says they refuse,
# and that the load generators are such programs.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/program.cpp" <<'END'
#include "arguments.hpp"
int main(int count, char** words) {
  bench::Arguments arguments(count, words, "program [--workers N] [--seconds S] [<tasks>]");
  while (arguments.next()) {
    if (arguments.is("--workers")) {
      std::printf("workers %d\n", arguments.value(1, 1024));
    } else if (arguments.is("--seconds")) {
      std::printf("seconds %.2f\n", arguments.value(0.1, 60.0));
    } else if (arguments.is("--port")) {
      std::printf("port %d\n", arguments.value<std::uint16_t>(0, UINT16_MAX));
    } else if (arguments.is("100")) {
      std::printf("tasks %d\n", arguments.number("tasks", 1, 1'000));
    } else {
      arguments.refuse_unknown();
    }
  }
}
END
"$1" -std=c++20 -Wall -Wextra -Werror -I"$root/bench" "$work/program.cpp" -o "$work/program"
program=program
failures=0

# expect <ends with> <line that must be printed> <argument>...
expect() {
  wanted=$1 line=$2
  shift 2
  code=0
  output=$("$work/$program" "$@" 2>&1) || code=$?
  if [ "$code" -ne "$wanted" ] || ! printf '%s\n' "$output" | grep -q -e "$line"; then
    echo "NOT AS PROMISED: $program $* ended with $code, not $wanted, or did not say '$line':"
    printf '%s\n' "$output"
    failures=$((failures + 1))
  fi
}

expect 0 '^$'
expect 0 '^usage: program' --help
expect 0 '^usage: program' --workers 0 -h
expect 0 '^workers 1024$' --seconds 0.25 --workers 1024
expect 0 '^seconds 0.25$' --seconds 0.25 100
expect 0 '^port 65535$' --port 65535
for bad in 0 1025 -1 abc 1x '' 99999999999; do
  expect 2 "^--workers: a number from 1 to 1024 is wanted, not '$bad'$" --workers "$bad"
done
expect 2 "^--seconds: a number from 0.1 to 60 is wanted, not 'nan'$" --seconds nan
expect 2 "^--port: a number from 0 to 65535 is wanted, not '65536'$" --port 65536
expect 2 '^--workers: its value is missing$' --workers
expect 2 "^unknown argument '--worker'$" --worker 2

for program in echo_load echo_open_load; do
  "$1" -std=c++20 -Wall -Wextra -Werror -pthread "$root/bench/raw/$program.cpp" -o "$work/$program"
  expect 0 "^usage: $program --port P" --help
  expect 2 "^--port is needed$"
  expect 2 "^--port: a number from 1 to 65535 is wanted, not 'here'$" --port here
  expect 2 "^--connections: a number from 1 to 100000 is wanted, not '0'$" --port 1 --connections 0
  expect 2 "^--seconds: a number from 0.01 to 3600 is wanted, not '-1'$" --seconds -1
  expect 2 "^unknown argument '--conections'$" --port 1 --conections 7
done

[ "$failures" -eq 0 ] || exit 1
echo "bench: arguments are refused as promised"
