# Sourced by tests/run.sh, examples/run.sh and .ci/run: packages, progress, building. Bash; changes to the root of
# the source tree.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

kBuildPackages=(g++ cmake ninja-build libboost-context-dev libboost-dev libtbb-dev libssl-dev)
kServerPackages=(libtomlplusplus-dev libcli11-dev nlohmann-json3-dev)
kTestPackages=(catch2 libbenchmark-dev pkg-config curl openssl python3)
# Whom tests talk with if they are there: browser, load generators, web server, what makes system calls fail. For .ci/run alone: 400 MB.
kTestPeerPackages=(chromium apache2-utils wrk nginx strace)
kCheckPackages=(clang-14 clang-format-14 clang-tidy-14 clang-19 libclang-rt-19-dev valgrind)

jobs=${FIBRIO_JOBS:-$(nproc)}

# A headline, so that a log shows where it is.
say() { printf '\n==== %s\n' "$*"; }

die() {
  printf '\n%s: %s\n' "$0" "$*" >&2
  exit 1
}

# need_packages <Debian package>... : installs those that are not there.
need_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "Not a Debian system: taking for granted what these packages hold: $*"
    return
  fi
  local package missing=()
  for package in "$@"; do
    if ! dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then
      missing+=("$package")
    fi
  done
  if [ ${#missing[@]} -eq 0 ]; then
    echo "Packages: all ${#} are installed"
    return
  fi

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      die "these packages are missing, and only root may install them; run this as root, then try again:
    apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing packages: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q)
  "${apt[@]}" update </dev/null || echo "apt-get update failed; trying with the package lists that are here" >&2
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null ||
    die "apt-get could not install: ${missing[*]} (see its messages above)"
}

# configure <preset> [argument of cmake]...
configure() {
  local preset=$1
  shift
  say "Configuring build/$preset"
  if [ -z "${CMAKE_CXX_COMPILER_LAUNCHER+set}" ] && command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache
  fi
  cmake --preset "$preset" "$@"
}

# build <preset> [target]...
build() {
  local preset=$1
  shift
  say "Building build/$preset ($jobs jobs)"
  cmake --build --preset "$preset" --parallel "$jobs" ${1:+--target "$@"}
}

# run_tests <preset> [argument of ctest]...
run_tests() {
  local preset=$1
  shift
  say "Testing build/$preset"
  ctest --preset "$preset" --output-on-failure --parallel "$jobs" "$@"
}
