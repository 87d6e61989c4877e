#!/bin/sh
# run.sh <root of the source tree> <work directory> [seconds]
# Builds the fuzz target with clang 19 (ASan, UBSan, Beast's assertions on), runs it over the kept corpus and for some
# seconds on its own. New inputs stay in the work directory. 77: there is no such compiler here.
set -eu
root=${1:?usage: run.sh ROOT WORKDIR [SECONDS]}
work=${2:?usage: run.sh ROOT WORKDIR [SECONDS]}
seconds=${3:-10}
mkdir -p "$work/found"
if ! command -v clang++-19 >/dev/null; then
  echo "skipped: clang++-19 is not installed"
  exit 77
fi
cd "$root/src/http"
if ! clang++-19 -std=c++20 -O1 -g1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
  -I "$root/include" -I "$root/src" -o "$work/http_fuzz" \
  "$root/tests/fuzz/http_fuzz.cpp" text.cpp fields.cpp message.cpp cookies.cpp cookie_jar.cpp url.cpp websocket_frame.cpp response_parser.cpp 2>"$work/build.log"; then
  if grep -q 'libclang_rt.fuzzer' "$work/build.log"; then
    echo "skipped: no libFuzzer here (Debian: libclang-rt-19-dev)"
    exit 77
  fi
  cat "$work/build.log"
  exit 1
fi
cd "$work"
# Its own exit code for a find is 77, which would count as skipped.
exec ./http_fuzz -error_exitcode=1 -timeout_exitcode=1 -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1 \
  -artifact_prefix="$work/" "$work/found" "$root/tests/fuzz/corpus/http"
