#!/bin/sh
# Proves that bench/compare refuses what it should before it does anything, that a part of the questions leaves the page
# alone or keeps the rest of it, and that failures end it with 1. In a copy of the tree, with programs that only print.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
command -v python3 >/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
mkdir -p "$tree/bench" "$tree/include/fibrio" "$tree/docs" "$tree/build/release"
cp -R "$root/bench/compare" "$tree/bench/"
cp "$root/include/fibrio/version.hpp" "$tree/include/fibrio/"
cp -R "$root/docs/benchmarks" "$root/docs/benchmarks.md" "$tree/docs/"
run=$tree/bench/compare/run.sh
page=$tree/docs/benchmarks.md
failures=0

fail() {
  echo "NOT AS PROMISED: $*"
  cat "$work/said"
  failures=$((failures + 1))
}

# expect <ends with> <what must be printed> <command>...
expect() {
  wanted=$1 line=$2
  shift 2
  code=0
  (cd "$work" && "$@") >"$work/said" 2>&1 </dev/null || code=$?
  if [ "$code" -ne "$wanted" ] || ! grep -q -- "$line" "$work/said"; then
    fail "$* ended with $code, not $wanted, or did not say '$line'"
  fi
}

# There is no .ci/setup.sh here: whatever goes on to packages and building fails for that.
expect 0 '^usage: run.sh' bash "$run" --help
expect 2 'unrecognized arguments: --qui' bash "$run" --qui
expect 2 "there is no 'W99'" bash "$run" --only W99
expect 2 "there is no 'Nobody'" bash "$run" --peers Nobody
expect 2 'a number from 1 on is wanted' bash "$run" --rounds 0
expect 2 'a number from 1 on is wanted' bash "$run" --rounds -1
expect 2 'a number from 0.1 on is wanted' bash "$run" --seconds nan
expect 2 'goes without --quick' bash "$run" --update --quick
expect 2 'goes without --quick' bash "$run" --update --peers 'fibrio;fibrio, eager'
expect 2 'there is no folder nowhere' bash "$run" --out nowhere/x.json
expect 2 'is a folder' bash "$run" --out "$work"
results=$tree/docs/benchmarks/results.json
mv "$results" "$work/kept.json"
echo '{}' >"$results"
expect 2 'what is to be kept is not there' bash "$run" --update --only W6
mv "$work/kept.json" "$results"
expect 1 'setup.sh' bash "$run" --peers 'fibrio, eager;uvloop, by hand'
cmp -s "$page" "$root/docs/benchmarks.md" || fail 'the page is another one'

# W16 needs one program.
compare="python3 $tree/bench/compare/compare.py --rounds 1 --only W16"
printf '#!/bin/sh\necho "{\\"cpu_percent\\": 0.042, \\"connections\\": 7, \\"timers\\": 7}"\n' \
  >"$tree/build/release/bench_idle_cpu"
chmod +x "$tree/build/release/bench_idle_cpu"
expect 0 'left alone' $compare
expect 0 'left alone' $compare --out here.json
cmp -s "$page" "$root/docs/benchmarks.md" || fail 'a part of the questions changed the page'
[ -s "$work/here.json" ] || fail '--out: not where the caller is'
expect 0 'written: .*docs/benchmarks.md' $compare --update
grep -q '^| \*\*fibrio\*\* | 0.0420 |' "$page" || fail '--update did not bring the new figure'
[ "$(grep -c '^## W' "$page")" -eq "$(grep -c '^## W' "$root/docs/benchmarks.md")" ] || fail '--update lost sections'
grep -q 'Measured .*, 1 round, fibrio .* (no commit); other' "$page" || fail 'the page does not say with what'
rm "$tree/build/release/bench_idle_cpu"
expect 1 'failed: W16 all: bench_idle_cpu is not in' $compare
rm "$tree/docs/benchmarks/results.json"
expect 2 'what is to be kept is not there' $compare --update

# Requests that failed.
cat >"$work/errors.py" <<'END'
import json, pathlib, sys
sys.path.insert(0, sys.argv[1] + "/bench/compare")
import network, report
results = json.loads(pathlib.Path(sys.argv[2], "docs/benchmarks/results.json").read_text())
rows = results["rows"]
assert network.failures(rows) == [], network.failures(rows)
next(row for row in rows if row["question"] == "W9" and row["peer"] == "nginx")["extra"]["errors"] = [0, 3, 4]
assert network.failures(rows) == ["W9 nginx, 64 connections, 1 worker(s): 7 requests failed"], network.failures(rows)
report.write_page(results, report.PAGE)
assert "Requests that failed, which makes these rows worthless: nginx, 64 connections, one worker: 7." in \
    report.PAGE.read_text()

class Server:
    peer, workers, pinned, port, pid = "fibrio", 2, False, 1, 1

network.find_program = lambda context, name: ["load"]
network.side_by_side = lambda context, rows, question, peers, workers, variants, measure, priority: \
    measure(Server, None, "2 % x 1 ms")
network.net_servers.run_load = lambda *arguments: \
    '{"p99_us": 1, "sent": 10, "answered": 8, "errors": 0}'
lost = network.measure({"only": {"W15"}, "seconds": 1})
assert network.failures(lost) == ["W15 fibrio, 2 % x 1 ms, 2 worker(s): 2 requests failed"], lost
END
expect 0 'written' python3 "$work/errors.py" "$tree" "$root"

# SIGTERM, twice: what was started is stopped, and the page stays.
cp "$page" "$work/before.md"
printf '#!/bin/sh\necho $$ >"%s"\nexec sleep 60\n' "$work/pid" >"$tree/build/release/bench_idle_cpu"
chmod +x "$tree/build/release/bench_idle_cpu"
$compare >"$work/said" 2>&1 &
measuring=$!
for _ in $(seq 100); do [ -s "$work/pid" ] && break; sleep 0.1; done
kill -TERM $measuring
kill -TERM $measuring 2>/dev/null || true
code=0
wait $measuring || code=$?
[ "$code" -eq 143 ] && grep -q 'SIGTERM: stopping' "$work/said" || fail "SIGTERM ended it with $code"
kill -0 "$(cat "$work/pid")" 2>/dev/null && fail 'SIGTERM left what it had started'
cmp -s "$page" "$work/before.md" || fail 'SIGTERM changed the page'

[ "$failures" -eq 0 ] || exit 1
echo "compare: keeps its promises"
