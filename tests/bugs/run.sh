#!/usr/bin/env bash
# tests/bugs/run.sh [--check] [--sample N [--seed S]] [--list] [<area>/<name> | <area>]...
# Puts past bugs back, one by one, and shows that the test which each names finds it.
#
# A bug is tests/bugs/<area>/<name>.patch: lines of a head, then a unified diff (-p1) against the tree.
#   Symptom: what users saw
#   Program: http_tests          the test program, by its name in CMake
#   Test: name of the test case that must fail, crash or run out of time
#   Runs: 3                      how often the test may run until it does (1)
#   Build: plain | asan | tsan   the build in which it does (plain)
#   Rebuild: all | test          `test`: only the test's source is compiled anew, for templates that it instantiates (all)
# The tree is copied and configured once per kind of build; of the test programs only the sources that are needed are
# compiled. Each test has to pass without its bug first. Prints "bugs: killed n/m"; fails unless they are all killed.
#
# --check builds nothing: every patch applies, and every test that a head names is there. --sample N takes N of them,
# chosen by the seed (the commit's). FIBRIO_JOBS; FIBRIO_BUGS_DIR keeps the copies there for the next call.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../.ci/setup.sh"

check=0 sample=0 list=0
seed=$(git rev-parse --short=8 HEAD 2>/dev/null || echo 1)
chosen=()
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=1 ;;
    --list) list=1 ;;
    --sample) sample=$2 && shift ;;
    --seed) seed=$2 && shift ;;
    -*) die "no option '$1'; see its head" ;;
    *) chosen+=("$1") ;;
  esac
  shift
done

# ---- the bugs -----------------------------------------------------------------------------------------------

head_of() { sed -n "/^--- /q; s/^$2: *//p" "tests/bugs/$1.patch" | sed 's/ *$//'; }

folder_of() { # of a test program's sources
  case $1 in
    unit_*) echo "tests/unit/${1#unit_}" ;;
    *_tests) echo "tests/${1%_tests}" ;;
  esac
}

# The source that has the test case; long names are literals in several pieces.
source_of() { # <program> <test>
  local folder
  folder=$(folder_of "$1")
  [ -n "$folder" ] && [ -d "$folder" ] || return 0
  TEST=$2 perl -0777 -ne '
    my $text = $_;
    $text =~ s/"[ \t]*\n[ \t]*"//g;
    while ($text =~ /\bTEST_CASE\(\s*"((?:[^"\\]|\\.)*)"/g) {
      (my $name = $1) =~ s/\\(.)/$1/g;
      if ($name eq $ENV{TEST}) { print "$ARGV\n"; last }
    }' "$folder"/*.cpp
}

all=()
while IFS= read -r patch; do
  bug=${patch#tests/bugs/}
  all+=("${bug%.patch}")
done < <(find tests/bugs -mindepth 2 -name '*.patch' | LC_ALL=C sort)

bugs=()
if [ ${#chosen[@]} -eq 0 ]; then
  bugs=(${all[@]+"${all[@]}"})
else
  for name in "${chosen[@]}"; do
    found=0
    for bug in "${all[@]}"; do
      case $bug in "$name" | "$name"/*) bugs+=("$bug") found=1 ;; esac
    done
    [ $found -eq 1 ] || die "no bug '$name'"
  done
fi
if [ "$sample" -gt 0 ]; then
  mapfile -t bugs < <(for bug in "${bugs[@]}"; do
    printf '%s %s\n' "$(printf '%s/%s' "$seed" "$bug" | cksum | cut -d' ' -f1)" "$bug"
  done | sort -n | head -n "$sample" | cut -d' ' -f2-)
fi
[ ${#bugs[@]} -gt 0 ] || die "there are no bugs under tests/bugs"
if [ $list -eq 1 ]; then
  for bug in "${bugs[@]}"; do printf '%s: %s\n' "$bug" "$(head_of "$bug" Symptom)"; done
  exit
fi

# ---- --check ------------------------------------------------------------------------------------------------

wrong=0
complain() {
  echo "$1.patch: $2"
  wrong=1
}
if [ $check -eq 1 ]; then
  for bug in "${bugs[@]}"; do
    [ -n "$(head_of "$bug" Symptom)" ] || complain "$bug" "no line 'Symptom:'"
    program=$(head_of "$bug" Program)
    name=$(head_of "$bug" Test)
    [ -n "$(source_of "$program" "$name")" ] || complain "$bug" "$program has no test case \"$name\""
    case $(head_of "$bug" Rebuild) in '' | all | test) ;; *) complain "$bug" "Rebuild: all or test" ;; esac
    case $(head_of "$bug" Build) in '' | plain | asan | tsan) ;; *) complain "$bug" "Build: plain, asan or tsan" ;; esac
    output=$(patch --dry-run --batch -p1 -F1 <"tests/bugs/$bug.patch" 2>&1) || complain "$bug" "does not apply: $output"
  done
  for patch in tests/differential/bugs/*.patch; do
    patch --dry-run --batch -p1 -F1 <"$patch" >/dev/null 2>&1 || complain "${patch%.patch}" "does not apply"
  done
  [ $wrong -eq 0 ] || exit 1
  echo "bugs: ${#bugs[@]} patches apply and name a test that is there"
  exit
fi

# ---- building and running -----------------------------------------------------------------------------------

if [ -n "${FIBRIO_BUGS_DIR:-}" ]; then
  work=$FIBRIO_BUGS_DIR
  mkdir -p "$work"
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
log=$work/build.log

kind_of() {
  local kind
  kind=$(head_of "$1" Build)
  echo "${kind:-plain}"
}

# make_copy <kind> <test source>... : the tree without the other sources that have test cases.
make_copy() {
  local kind=$1 copy=$work/$1/source options
  shift
  mkdir -p "$copy"
  git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
    [ ! -f "$file" ] || printf '%s\n' "$file"
  done | rsync_to "$copy"
  find "$copy/tests" -name '*.cpp' -not -path '*/differential/*' -exec grep -lE '^TEST_CASE\(' {} + |
    while IFS= read -r file; do
      file=${file#"$copy"/}
      for needed in "$@"; do [ "$needed" != "$file" ] || continue 2; done
      rm -f "$copy/$file"
    done
  options=(-DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS_RELEASE=-O1")
  case $kind in
    asan) options=(-DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DFIBRIO_SANITIZE=address,undefined) ;;
    tsan) options=(-DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DFIBRIO_SANITIZE=thread
      -DCMAKE_CXX_COMPILER=clang++-19) ;;
  esac
  ! command -v ccache >/dev/null || options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  cmake -S "$copy" -B "$work/$kind/build" -G Ninja "${options[@]}" -DFIBRIO_BUILD_TESTS=ON -DFIBRIO_DELAY_POINTS=ON -DFIBRIO_BUILD_EXAMPLES=OFF \
    -DFIBRIO_BUILD_BENCH=OFF -DFIBRIO_INSTALL=OFF >"$log" 2>&1 || {
    tail -n 40 "$log"
    die "the copy could not be configured"
  }
}
# Only what has changed: a copy that is kept is not compiled anew.
rsync_to() {
  local file
  while IFS= read -r file; do
    if ! cmp -s "$file" "$1/$file"; then
      mkdir -p "$1/$(dirname "$file")"
      cp -p "$file" "$1/$file"
      touch "$1/$file"
    fi
  done
}

# build_program <kind> <program>
build_program() { cmake --build "$work/$1/build" -j "$jobs" --target "$2" >"$log" 2>&1; }

# build_test <kind> <program> <test source>: compiles this one, and links with everything else as it is.
build_test() {
  local object=tests/CMakeFiles/$2.dir/${3#tests/}.o
  (
    cd "$work/$1/build"
    cp -p "$object" "$work/object"
    cmake --build . -j "$jobs" --target "$object"
    eval "$(ninja -t commands "$2" | tail -n 1)"
  ) >"$log" 2>&1
}

# put_back <kind> <bug>: with the times of before, or everything that includes them would be compiled anew. The test's
# object comes back in the same way.
put_back() {
  sed -n 's/^+++ b\/\([^[:space:]]*\).*/\1/p' "tests/bugs/$2.patch" | while IFS= read -r file; do
    cp -p "$work/before/$file" "$work/$1/source/$file"
  done
}

# run_test <kind> <program> <test> <seconds>: 0 if it passes.
run_test() {
  local specification
  specification=$(printf '%s' "$3" | sed 's/[][\\,]/\\&/g')
  (
    ulimit -c 0
    exec timeout -k 5 "$4" "$work/$1/build/tests/$2" --warn NoTests "$specification"
  ) >"$work/test.log" 2>&1 </dev/null
}

first_limit() { [ "$1" = plain ] && echo 120 || echo 600; }

kinds=$(for bug in "${bugs[@]}"; do kind_of "$bug"; done | sort -u)
for kind in $kinds; do
  sources=()
  for bug in "${bugs[@]}"; do
    [ "$(kind_of "$bug")" = "$kind" ] || continue
    source=$(source_of "$(head_of "$bug" Program)" "$(head_of "$bug" Test)")
    [ -n "$source" ] || die "$bug: its program has no such test case (--check says more)"
    sources+=("$source")
  done
  make_copy "$kind" "${sources[@]}"
done

# Without the bugs. Ten times what a test took is its limit, so that a hang is found soon, and a busy machine is not
# taken for one.
declare -A limits
for bug in "${bugs[@]}"; do
  kind=$(kind_of "$bug") program=$(head_of "$bug" Program) name=$(head_of "$bug" Test)
  [ -z "${limits["$kind $name"]:-}" ] || continue
  build_program "$kind" "$program" || {
    tail -n 40 "$log"
    die "$program could not be built without a bug"
  }
  started=${EPOCHREALTIME/./}
  run_test "$kind" "$program" "$name" "$(first_limit "$kind")" || {
    tail -n 40 "$work/test.log"
    die "\"$name\" fails without the bug $bug"
  }
  limits["$kind $name"]=$(((${EPOCHREALTIME/./} - started) * 10 / 1000000 + 20))
done

killed=0 survivors=()
for bug in "${bugs[@]}"; do
  kind=$(kind_of "$bug") program=$(head_of "$bug" Program) name=$(head_of "$bug" Test) runs=$(head_of "$bug" Runs)
  copy=$work/$kind/source limit=${limits["$kind $name"]}
  rm -rf "$work/before"
  sed -n 's/^+++ b\/\([^[:space:]]*\).*/\1/p' "tests/bugs/$bug.patch" | while IFS= read -r file; do
    mkdir -p "$work/before/$(dirname "$file")"
    cp -p "$copy/$file" "$work/before/$file"
  done
  patch -d "$copy" --batch -p1 -s -F1 --no-backup-if-mismatch <"tests/bugs/$bug.patch" || die "$bug does not apply"
  built=1 rebuild=$(head_of "$bug" Rebuild) source=$(source_of "$program" "$name")
  if [ "$rebuild" = test ]; then
    build_test "$kind" "$program" "$source" || built=0
  else
    build_program "$kind" "$program" || built=0
  fi
  verdict=survived
  if [ $built -eq 1 ]; then
    for ((run = 1; run <= ${runs:-1}; ++run)); do
      code=0
      run_test "$kind" "$program" "$name" "$limit" || code=$?
      case $code in
        0) continue ;;
        77) die "\"$name\" is skipped on this machine" ;;
        124 | 137) verdict="killed (out of time, run $run)" ;;
        1[3-9]? | 2??) verdict="killed (signal $((code - 128)), run $run)" ;;
        *) verdict="killed (run $run)" ;;
      esac
      break
    done
  fi
  if [ "$rebuild" = test ]; then
    put_back "$kind" "$bug"
    cp -p "$work/object" "$work/$kind/build/tests/CMakeFiles/$program.dir/${source#tests/}.o"
    rm -f "$work/$kind/build/tests/$program"
  else
    patch -d "$copy" --batch -p1 -s -F1 -R --no-backup-if-mismatch <"tests/bugs/$bug.patch"
  fi
  [ $built -eq 1 ] || {
    tail -n 40 "$log"
    die "the tree with $bug could not be built"
  }
  printf '%-60s %s\n' "$bug" "$verdict"
  if [ "$verdict" = survived ]; then survivors+=("$bug"); else killed=$((killed + 1)); fi
done
echo "bugs: killed $killed/${#bugs[@]}"
[ ${#survivors[@]} -eq 0 ] || die "no test found: ${survivors[*]}"
