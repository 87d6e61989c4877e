#!/usr/bin/env bash
# ./bench/compare/run.sh [argument of compare.py]...; --help says which.
# The comparison of fibrio with its peers, from nothing to docs/benchmarks.md: checks its arguments, installs what it can
# (Debian), builds everything in build/release and build/compare, and has compare.py measure. About an hour; the
# machine should have nothing else to do.
set -euo pipefail
started_in=$PWD
exec </dev/null

# Where the caller is: that is what relative paths mean.
compare() { (cd "$started_in" && python3 "$root/bench/compare/compare.py" "$@"); }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
checked=
if command -v python3 >/dev/null; then
  for argument in "$@"; do
    case $argument in --help | -h) compare --help; exit 0 ;; esac
  done
  compare "$@" --check-only
  checked=yes
fi

source "$root/.ci/setup.sh"

# What only peers need: each may be missing.
kPeerPackages=(libboost-fiber-dev python3-uvloop librust-tokio-dev librust-async-channel-dev librust-hyper-dev
  librust-tokio-util-dev librust-tokio-rustls-dev librust-rustls-pemfile-dev librust-tokio-openssl-dev wrk nginx openssl)
command -v go >/dev/null || kPeerPackages+=(golang-go)
command -v cargo >/dev/null || kPeerPackages+=(cargo)

need_packages python3
[ -n "$checked" ] || compare "$@" --check-only
need_packages "${kBuildPackages[@]}" "${kServerPackages[@]}" libbenchmark-dev util-linux
if ! (need_packages "${kPeerPackages[@]}"); then
  for package in "${kPeerPackages[@]}"; do
    (need_packages "$package") || echo "Left out: $package"
  done
fi

configure release -DFIBRIO_BUILD_BENCH=ON
build release comparison

say "Measuring"
compare "$@"
say "bench/compare/run.sh: done ($SECONDS s)"
