#!/bin/sh
# sh snippets.sh <root of the source tree> <C++ compiler> [<option>...]
# Compiles the C++ snippets of docs/asyncio.md. The first one comes before all others, each of which is in a
# namespace of its own.
set -eu

root=${1:?usage: snippets.sh ROOT COMPILER [OPTION...]}
shift
code=$(awk '
  /^```cpp/ { ++n; inside = 1; if (n > 1) printf "namespace snippet_%d {\n", n; printf "#line %d \"docs/asyncio.md\"\n", NR + 1; next }
  /^```/ { if (inside && n > 1) print "}"; inside = 0; next }
  inside' "$root/docs/asyncio.md")
[ "$(printf '%s\n' "$code" | grep -c '^namespace snippet_')" -ge 10 ] || { echo "where are the snippets?"; exit 1; }
printf '%s\n' "$code" | "$@" -std=c++20 -w -I "$root/include" -fsyntax-only -x c++ -
