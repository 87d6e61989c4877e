#!/bin/sh
# run.sh <source dir> <work dir> <compiler> "<options>" <library or option>...
# Builds probe.cpp, as users of fibrio::fibrio do, with one compiler and one set of options and runs it. 77: the
# compiler, or one of its options, is not there.
set -u
source_dir=$1 work_dir=$2 compiler=$3 options=$4
shift 4

command -v "$compiler" >/dev/null 2>&1 || { echo "skipped: no $compiler"; exit 77; }
mkdir -p "$work_dir" || exit 1
name=$(printf '%s %s' "$compiler" "$options" | tr -c 'a-zA-Z0-9\n' _)
trial=$work_dir/trial_$name.cpp
echo '#include <string>
int main() { return std::string().size() == 0 ? 0 : 1; }' >"$trial"
# shellcheck disable=SC2086  # several options
"$compiler" -std=c++20 $options "$trial" -o "$work_dir/trial_$name" >"$trial.log" 2>&1 ||
  { echo "skipped: $compiler $options does not build a program:"; cat "$trial.log"; exit 77; }

include=$source_dir/include
# shellcheck disable=SC2086
"$compiler" -std=c++20 $options -fstack-clash-protection -I"$include" -I"$include/fibrio/detail/libc" -I"$source_dir/src" \
  "$source_dir/tests/hazard/matrix/probe.cpp" -o "$work_dir/probe_$name" "$@" || exit 1
exec "$work_dir/probe_$name"
