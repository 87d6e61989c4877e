#!/usr/bin/env bash
# tests/ends/figures.sh [--asan DIR] [--tsan DIR] [--bugs] [--differential N] [--chaos N] [BUILD]
# Runs the test families of docs/reliability.md and writes what they count into its table.
# BUILD: a build folder with the test programs (build/quick). --asan, --tsan: the same with a sanitizer: the sweeps run
# there too, and its reports are counted. --bugs: tests/bugs/run.sh (half an hour). --differential, --chaos: so many
# programs, so many HTTP requests. What is not asked for keeps its row. FIBRIO_ENDS_ROUNDS: how large (1: as in CI).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../.ci/setup.sh"

build=build/quick page=docs/reliability.md
bugs=0 differential=0 chaos=0
declare -A sanitizers
while [ $# -gt 0 ]; do
  case $1 in
    --asan | --tsan) sanitizers[${1#--}]=$2 && shift ;;
    --bugs) bugs=1 ;;
    --differential) differential=$2 && shift ;;
    --chaos) chaos=$2 && shift ;;
    -*) die "no option '$1'; see its head" ;;
    *) build=$1 ;;
  esac
  shift
done
[ -x "$build/tests/ends_tests" ] || die "$build has no tests/ends_tests: build it first"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seed=$((16#$(git rev-parse --short=8 HEAD)))
failed=0
: >"$work/rows"

# row <what> <points> <runs> <faults> <outcome>
row() { printf '| %s | %s | %s | %s | %s |\n' "$@" >>"$work/rows"; }
thousands() { sed ':again; s/^\([0-9]*[0-9]\)\([0-9]\{3\}\)/\1,\2/; t again' <<<"$1"; }

# sweeps <name> <build>: what its sweeps print.
sweeps() {
  local code=0
  {
    "$2/tests/ends_tests" || code=$?
    if [ -x "$2/examples/http_server" ]; then
      bash tests/ends/server_faults.sh "$2/examples/http_server" "$seed" || [ $? -eq 77 ] || code=$?
    fi
  } >"$work/$1.log" 2>&1
  if [ $code -ne 0 ]; then
    tail -n 20 "$work/$1.log"
    failed=1
  fi
  grep '^ends: .*points=' "$work/$1.log" >"$work/$1.ends" || true
}

say "The sweeps"
sweeps plain "$build"
while read -r _ name points runs faults survived; do
  row "\`${name%:}\`" "$(thousands "${points#*=}")" "$(thousands "${runs#*=}")" "$(thousands "${faults#*=}")" \
    "$(thousands "${survived#*=}")"
done <"$work/plain.ends"

for kind in "${!sanitizers[@]}"; do
  say "The sweeps ($kind)"
  sweeps "$kind" "${sanitizers[$kind]}"
  reports=$(grep -cE 'ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:' "$work/$kind.log" || true)
  runs=$(sed 's/.*runs=\([0-9]*\).*/\1/' "$work/$kind.ends" | awk '{ sum += $1 } END { print sum + 0 }')
  row "the sweeps under $kind" "" "$(thousands "$runs")" "" "$reports reports"
done
if [ $bugs -eq 1 ]; then
  say "Seeded bugs"
  ./tests/bugs/run.sh | tee "$work/bugs.log" || failed=1
  row "seeded bugs of \`tests/bugs\`" "" "" "" "killed $(sed -n 's/^bugs: killed //p' "$work/bugs.log")"
fi
if [ "$differential" -gt 0 ]; then
  say "Differential tests (seed $seed)"
  ./tests/differential/run.sh --programs "$differential" --seed "$seed" || failed=1
  row "fresh programs on fibrio and asyncio" "" "$(thousands "$differential")" "" "the same traces"
fi
if [ "$chaos" -gt 0 ]; then
  say "HTTP through a chaos proxy"
  "$build/tests/chaos_load" --requests="$chaos" --seed="$seed" | tee "$work/chaos.log" || failed=1
  row "HTTP requests through a chaos proxy" "" "$(thousands "$chaos")" "" "$(tail -n 1 "$work/chaos.log")"
fi
[ $failed -eq 0 ] || die "a family has failed: $page is left as it was"

# A row is found again by its first column.
awk -F '|' -v rows="$work/rows" '
  BEGIN {
    while ((getline line < rows) > 0) {
      split(line, cell, "|")
      order[++count] = cell[2]
      text[cell[2]] = line
    }
  }
  /^<!-- figures: end -->/ {
    for (i = 1; i <= count; ++i) if (!(order[i] in done)) print text[order[i]]
    inside = 0
  }
  inside && ($2 in text) {
    print text[$2]
    done[$2] = 1
    next
  }
  { print }
  /^<!-- figures: begin -->/ { inside = 1 }
' "$page" >"$work/page"
cp "$work/page" "$page"
say "$page has the figures of $(wc -l <"$work/rows" | tr -d ' ') rows ($SECONDS s)"
