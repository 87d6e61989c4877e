#!/bin/sh
# Proves that bench/instructions/compare.awk and check.sh see what they promise to see.
set -eu

compare=$(cd "$(dirname "$0")/../../bench/instructions" && pwd)/compare.awk
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
printf '# a head\nyield 100.0\nspawn 1000.0\n' >"$work/baseline"

# expect <ends with> <line that must be printed> <now>
expect() {
  printf '%b' "$3" >"$work/now"
  code=0
  output=$(awk -f "$compare" "$work/baseline" "$work/now") || code=$?
  if [ "$code" -ne "$1" ] || ! printf '%s\n' "$output" | grep -q -- "$2"; then
    echo "NOT AS PROMISED: '$3' ended with $code, not $1, or did not say '$2':"
    printf '%s\n' "$output"
    failures=$((failures + 1))
  fi
}

expect 0 '^instructions: 2 paths, none over' 'yield 103.0\nspawn 970.0\n'
expect 1 '^yield .*1.031  FAILED: slower' 'yield 103.1\nspawn 1000.0\n'
expect 0 '^spawn .*0.969  faster' 'yield 100.0\nspawn 969.0\n'
expect 1 '^sleep .*FAILED: not in the baseline' 'yield 100.0\nspawn 1000.0\nsleep 5.0\n'
expect 1 '^spawn .*FAILED: no longer counted' 'yield 100.0\n'
expect 1 'now:2: yield is there twice' 'yield 100.0\nyield 90.0\nspawn 1000.0\n'
expect 1 "now:1: not '<path> <instructions>'" 'yield fast\nspawn 1000.0\n'
printf 'yield 100.0\nspawn 1000.0\nyield 200.0\n' >"$work/baseline"
expect 1 'baseline:3: yield is there twice' 'yield 150.0\nspawn 1000.0\n'

# A program that --about tells what the file `about` holds.
printf '#!/bin/sh\nset -e\ncat "%s/about"\n' "$work" >"$work/program"
chmod +x "$work/program"
check=$(dirname "$compare")/check.sh

# expect_check <ends with> <line that must be printed> <argument of check.sh>...
expect_check() {
  wanted=$1 line=$2
  shift 2
  code=0
  output=$(FIBRIO_INSTRUCTIONS_BASELINE="$work/baseline" bash "$check" "$@" 2>&1) || code=$?
  if [ "$code" -ne "$wanted" ] || ! printf '%s\n' "$output" | grep -q -- "$line"; then
    echo "NOT AS PROMISED: check.sh $* ended with $code, not $wanted, or did not say '$line':"
    printf '%s\n' "$output"
    failures=$((failures + 1))
  fi
}

expect_check 0 '^usage: ' --help
expect_check 1 "unknown option '--updat'" --updat
expect_check 1 "not also 'b'" a b
expect_check 1 'there is no a: build' a
expect_check 1 'there is no a: build' a --update
expect_check 1 'about failed' "$work/program"
expect_check 1 'about failed' "$work/program" --update
printf 'compiler: one\nflags: none\n' >"$work/about"
printf '# compiler: one\r\n# flags: none\r\nyield 100.0\r\n' >"$work/baseline"
expect_check 1 'line ends of Windows' "$work/program"
printf '# compiler: another\n# flags: none\nyield 100.0\n' >"$work/baseline"
expect_check 77 'skipped: the baseline is for' "$work/program"

[ "$failures" -eq 0 ] || exit 1
echo "instructions: the comparison keeps its promises"
