#!/usr/bin/env bash
# bench/instructions/check.sh [--update] [path of instruction_paths]
# Counts the instructions of the hot paths with callgrind and compares them with baseline.txt: fails above +3 %.
# --update writes the baseline anew; the reason belongs into the commit message.
# The program is not built here (cmake --build build/release --target instruction_paths); the default path is
# build/release/bench/instruction_paths. Ends with 77 (skipped) if it was built by another compiler, or with other
# flags, than the baseline's.
set -euo pipefail

usage="usage: bench/instructions/check.sh [--update] [path of instruction_paths]"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
baseline=${FIBRIO_INSTRUCTIONS_BASELINE:-$here/baseline.txt}  # another one is for tests

fail() {
  echo "instructions: $*" >&2
  exit 1
}

update=
binary=
for argument in "$@"; do
  case $argument in
    --help | -h) echo "$usage"; exit 0 ;;
    --update) update=yes ;;
    -*) fail "unknown option '$argument'; $usage" ;;
    *)
      [ -z "$binary" ] || fail "one program at a time, not also '$argument'; $usage"
      [ -n "$argument" ] || fail "the path of instruction_paths is empty; $usage"
      binary=$argument
      ;;
  esac
done
binary=${binary:-$here/../../build/release/bench/instruction_paths}
if [ ! -x "$binary" ] || [ -d "$binary" ]; then fail "there is no $binary: build the target instruction_paths"; fi

about=$("$binary" --about) || fail "$binary --about failed ($?)"
[ -n "$about" ] || fail "$binary --about says nothing"
about=$(printf '%s\n' "$about" | sed 's/^/# /')
if [ -z "$update" ]; then
  [ -r "$baseline" ] || fail "there is no $baseline"
  if grep -q $'\r' "$baseline"; then fail "$baseline has line ends of Windows (CR LF)"; fi
  its_about=$(grep -E '^# (compiler|flags): ' "$baseline") || fail "no head in $baseline"
  if [ "$about" != "$its_about" ]; then
    printf 'instructions: skipped: the baseline is for\n%s\nand %s was built with\n%s\n' "$its_about" "$binary" "$about"
    exit 77
  fi
fi
command -v valgrind >/dev/null || fail "valgrind is needed (Debian: valgrind)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The string functions of glibc that every x86-64 has, or the counts would depend on the machine.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM
env -u FIBRIO_CONFIG -u FIBRIO_DEBUG valgrind --tool=callgrind --callgrind-out-file="$work/out" "$binary" \
  >"$work/log" 2>&1 </dev/null || { cat "$work/log" >&2; fail "$binary failed under valgrind"; }

# One dump per path, numbered in their order; its trigger is "<path> <operations>".
for ((part = 1; ; ++part)); do
  [ -e "$work/out.$part" ] || break
  awk '/^desc: Trigger: Client Request: / { path = $5; operations = $6 }
       /^summary: / { printf "%-30s %.1f\n", path, $2 / operations }' "$work/out.$part"
done >"$work/now"
[ -s "$work/now" ] || fail "callgrind left no counts"

if [ -n "$update" ]; then
  {
    echo '# Instructions per operation of the hot paths (one worker, callgrind). Written by check.sh --update.'
    printf '%s\n' "$about"
    cat "$work/now"
  } >"$baseline"
  echo "instructions: $baseline is written; say why in the commit message"
else
  awk -f "$here/compare.awk" "$baseline" "$work/now"
fi
