#!/bin/sh
# Proves that bench/instructions/compare.awk sees what it promises to see.
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

[ "$failures" -eq 0 ] || exit 1
echo "instructions: the comparison keeps its promises"
