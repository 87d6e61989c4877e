#!/usr/bin/env bash
# ./tests/run.sh [argument of ctest]...
# Installs what is missing (Debian), builds everything in build/quick and runs the tests.
#   ./tests/run.sh -L unit          only the unit tests
#   ./tests/run.sh -R 'TcpStream'   only tests whose names match
# FIBRIO_JOBS: parallel jobs (default: all CPUs). FIBRIO_CMAKE_ARGS: more arguments for cmake.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

exec </dev/null
need_packages "${kBuildPackages[@]}" "${kServerPackages[@]}" "${kTestPackages[@]}"
# shellcheck disable=SC2086  # several arguments
configure quick ${FIBRIO_CMAKE_ARGS:-}
build quick
run_tests quick "$@" || die "there are failing tests (see the list above)"
say "tests/run.sh: all tests passed ($SECONDS s)"
