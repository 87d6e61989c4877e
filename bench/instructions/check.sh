#!/usr/bin/env bash
# bench/instructions/check.sh [--update] [path of instruction_paths]
# Counts the instructions of the hot paths with callgrind and compares them with baseline.txt: fails above +3 %.
# --update writes the baseline anew; the reason belongs into the commit message.
# The program is not built here (cmake --build build/release --target instruction_paths); the default path is
# build/release/bench/instruction_paths. Ends with 77 (skipped) if it was built by another compiler, or with other
# flags, than the baseline's.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
update=
if [ "${1:-}" = --update ]; then
  update=yes
  shift
fi
binary=${1:-$here/../../build/release/bench/instruction_paths}
baseline=$here/baseline.txt

fail() {
  echo "instructions: $*" >&2
  exit 1
}
command -v valgrind >/dev/null || fail "valgrind is needed (Debian: valgrind)"
[ -x "$binary" ] || fail "there is no $binary: build the target instruction_paths"

about=$("$binary" --about | sed 's/^/# /')
if [ -z "$update" ]; then
  its_about=$(grep -E '^# (compiler|flags): ' "$baseline") || fail "no head in $baseline"
  if [ "$about" != "$its_about" ]; then
    printf 'instructions: skipped: the baseline is for\n%s\nand %s was built with\n%s\n' "$its_about" "$binary" "$about"
    exit 77
  fi
fi

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
