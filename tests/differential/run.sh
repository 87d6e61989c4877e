#!/usr/bin/env bash
# tests/differential/run.sh [--programs N] [--seed S] [--python PATH] [--stop-at N] [--show N] [--without a,b]
# The long run: N fresh random programs (default 200,000) of the seeds from S on (default: by the clock, and printed)
# on asyncio and on fibrio, on one worker and, an eighth of them, inside a strand; then the corpus is derived again.
# Differences are shrunk and printed with their seeds. Builds what it needs in build/release. FIBRIO_JOBS: default all CPUs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../.ci/setup.sh"

programs=200000
seed=$(($(date +%s) * 1000))
more=()
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "what is the value of $1?"
  case $1 in
    --programs) programs=$2 ;;
    --seed) seed=$2 ;;
    --python) export FIBRIO_PYTHON=$2 ;;
    --stop-at | --show | --without) more+=("$1" "$2") ;;
    *) die "what is $1?" ;;
  esac
  shift 2
done

need_packages "${kBuildPackages[@]}" "${kServerPackages[@]}" "${kTestPackages[@]}" python3
configure release
build release differential_replay

failed=0
differential() { sh tests/differential/python.sh "$@" || failed=1; }
fuzz() { differential fuzz --replay build/release/tests/differential_replay --jobs "$jobs" --seed "$seed" "${more[@]}" "$@"; }
say "$programs programs on one worker, seeds from $seed"
fuzz --programs "$programs"
say "$((programs / 8)) programs inside a strand"
fuzz --programs "$((programs / 8))" --strand
say 'The corpus, derived again'
differential check
[ "$failed" -eq 0 ] || die "there are differences that nobody has explained (see above)"
say "tests/differential/run.sh: no unexplained difference ($SECONDS s)"
