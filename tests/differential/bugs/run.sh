#!/usr/bin/env bash
# tests/differential/bugs/run.sh [--seed S] [<name of a bug>]...
# Shows that the differential tests find bugs: each .patch here puts one into a copy of the sources; it must be
# found within 2,000 fresh programs. Prints after how many, and the first program, shrunk. FIBRIO_PYTHON, FIBRIO_JOBS.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../../.ci/setup.sh"

kPrograms=2000
seed=1
if [ "${1:-}" = --seed ]; then
  seed=$2
  shift 2
fi
bugs=("$@")
if [ ${#bugs[@]} -eq 0 ]; then
  for patch in tests/differential/bugs/*.patch; do bugs+=("$(basename "$patch" .patch)"); done
fi
python=${FIBRIO_PYTHON:-python3}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/source"
git ls-files | grep -E '^(CMakeLists.txt|LICENSE|src/|include/|tests/)' | tar -cf - -T - | tar -xf - -C "$copy/source"
cmake -S "$copy/source" -B "$copy/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFIBRIO_BUILD_TESTS=ON \
  -DFIBRIO_BUILD_EXAMPLES=OFF -DFIBRIO_BUILD_BENCH=OFF >"$copy/configure.log" || {
  cat "$copy/configure.log"
  die "the copy could not be configured"
}

missed=()
for bug in "${bugs[@]}"; do
  say "The bug $bug"
  patch -d "$copy/source" -p1 -s <"tests/differential/bugs/$bug.patch"
  cmake --build "$copy/build" -j "$jobs" --target differential_replay >"$copy/build.log" 2>&1 || {
    tail -n 40 "$copy/build.log"
    die "the copy with $bug could not be built"
  }
  if "$python" tests/differential/differential.py fuzz --replay "$copy/build/tests/differential_replay" \
    --programs "$kPrograms" --seed "$seed" --show 1 >"$copy/fuzz.log"; then
    echo "NOT FOUND within $kPrograms programs"
    missed+=("$bug")
  fi
  grep -E '^(unexplained differences|the first after)' "$copy/fuzz.log"
  sed -n '/^seed [0-9]*: /,$p' "$copy/fuzz.log"
  patch -d "$copy/source" -p1 -s -R <"tests/differential/bugs/$bug.patch"
done
[ ${#missed[@]} -eq 0 ] || die "not found: ${missed[*]}"
say "All ${#bugs[@]} bugs were found within $kPrograms programs ($SECONDS s)"
