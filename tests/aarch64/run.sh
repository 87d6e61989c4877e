#!/usr/bin/env bash
# run.sh [work directory [program...]]: cross-builds the tests for aarch64 and runs them under qemu-user, each test case in a
# process of its own. Programs: unit (all unit_*), api, hazard, stress (the default: these four). Installs what is
# missing (Debian); the libraries for arm64 come from its packages, into the work directory and not into the system.
#
# What an emulated process cannot do, and the reason for each case that is left out, is in tests/aarch64/left_out.txt.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../.ci/setup.sh"

work=${1:-build/aarch64}
shift || true
wanted=("$@")
[ $# -gt 0 ] || wanted=(unit api hazard stress)
mkdir -p "$work"
work=$(cd "$work" && pwd)
root=$work/root
seconds=${FIBRIO_AARCH64_SECONDS:-300} # for one test case; emulation is 10 to 30 times slower

need_packages g++-aarch64-linux-gnu qemu-user-static cmake ninja-build catch2

# ---- Libraries ---------------------------------------------------------------------------------------------

kLibraries=(libboost1.74-dev libboost-context1.74.0 libboost-context1.74-dev libtbb-dev libtbb12 libtbbmalloc2 libtbbbind-2-5)
if [ ! -e "$root/done" ]; then
  say 'Libraries for arm64'
  rm -rf "$root" "$work/apt" "$work/debs"
  mkdir -p "$root/usr/include" "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/debs"
  : >"$work/apt/status"
  options=(-q -o "Dir::State=$work/apt" -o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt/cache"
    -o APT::Architecture=arm64 -o APT::Architectures=arm64)
  [ "$(id -u)" -ne 0 ] || options+=(-o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$work/debs" && apt-get "${options[@]}" download "${kLibraries[@]}")
  for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$root"; done
  # The same on every machine.
  ln -s /usr/include/catch2 "$root/usr/include/catch2"
  mkdir -p "$root/usr/lib/cmake" && cp -r /usr/lib/cmake/Catch2 "$root/usr/lib/cmake/"
  touch "$root/done"
fi

# ---- Programs ----------------------------------------------------------------------------------------------

say 'Configuring'
cmake -S . -B "$work/build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/tests/aarch64/toolchain.cmake" \
  -DFIBRIO_AARCH64_ROOT="$root" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG='-O1 -g1' -DFIBRIO_BUILD_TESTS=ON \
  -DFIBRIO_BUILD_BENCH=OFF -DFIBRIO_BUILD_EXAMPLES=OFF \
  -DCMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache || true)"

programs=()
for name in "${wanted[@]}"; do
  if [ "$name" = unit ]; then
    for folder in tests/unit/*/; do programs+=("unit_$(basename "$folder")"); done
  else
    programs+=("${name}_tests")
  fi
done
say "Building ($jobs jobs)"
cmake --build "$work/build" --parallel "$jobs" --target "${programs[@]}"

# ---- Running -----------------------------------------------------------------------------------------------

export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
export QEMU_SET_ENV="LD_LIBRARY_PATH=$root/usr/lib/aarch64-linux-gnu"
export FIBRIO_EMULATED=1
passed=0 skipped=0
failures=()
for program in "${programs[@]}"; do
  binary=$work/build/tests/$program
  say "$program"
  while IFS= read -r line; do
    case=$(sed 's/^ *//; s/ *$//' <<<"$line")
    [ -n "$case" ] || continue
    if grep -qxF -- "$program: $case" <(grep -v '^#' tests/aarch64/left_out.txt); then
      skipped=$((skipped + 1))
      continue
    fi
    specification=$(sed 's/[][\\,]/\\&/g' <<<"$case")
    code=0
    timeout -s KILL "$seconds" qemu-aarch64-static "$binary" "$specification" >"$work/output" 2>&1 </dev/null || code=$?
    case $code in
      0) passed=$((passed + 1)) ;;
      77) skipped=$((skipped + 1)) ;;
      *)
        failures+=("$program: $case (exit $code)")
        printf 'FAILED (exit %s): %s\n' "$code" "$case"
        tail -15 "$work/output"
        ;;
    esac
  done < <(qemu-aarch64-static "$binary" --list-test-names-only || true)
done

say "aarch64: $passed passed, $skipped left out or skipped, ${#failures[@]} failed"
[ ${#failures[@]} -eq 0 ] || { printf '%s\n' "${failures[@]}"; exit 1; }
