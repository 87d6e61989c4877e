#!/usr/bin/env bash
# ./bench/compare/run.sh [argument of compare.py]...
# The comparison of fibrio with its peers, from nothing to docs/benchmarks.md: installs what it can (Debian), builds
# everything in build/release and build/compare, measures, writes the page. About half an hour; the machine should have
# nothing else to do.
#   ./bench/compare/run.sh --quick              a minute, to see that everything works; writes no page into docs/
#   ./bench/compare/run.sh --only W1,W4 --update    measures these again and keeps the rest
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../.ci/setup.sh"

# What only peers need: each may be missing.
kPeerPackages=(libboost-fiber-dev python3-uvloop librust-tokio-dev librust-async-channel-dev librust-hyper-dev wrk nginx)
command -v go >/dev/null || kPeerPackages+=(golang-go)
command -v cargo >/dev/null || kPeerPackages+=(cargo)

exec </dev/null
quick=
for argument in "$@"; do [ "$argument" != --quick ] || quick=1; done

need_packages "${kBuildPackages[@]}" "${kServerPackages[@]}" libbenchmark-dev python3 util-linux
if ! (need_packages "${kPeerPackages[@]}"); then
  for package in "${kPeerPackages[@]}"; do
    (need_packages "$package") || echo "Left out: $package"
  done
fi

configure release -DFIBRIO_BUILD_BENCH=ON
build release comparison

say "Measuring"
mkdir -p build/compare
if [ -n "$quick" ]; then
  python3 bench/compare/compare.py --quick --out build/compare/quick.json "$@"
  python3 bench/compare/report.py --results build/compare/quick.json --page build/compare/quick/benchmarks.md
else
  python3 bench/compare/compare.py --out build/compare/results.json "$@"
  python3 bench/compare/report.py --results build/compare/results.json
fi
say "bench/compare/run.sh: done ($SECONDS s)"
