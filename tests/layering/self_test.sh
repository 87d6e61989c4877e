#!/bin/sh
# Proves that check.sh sees what it promises to see: seeds one violation at a time into a small clean tree.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

clean_tree() {
  rm -rf "$tree/src" "$tree/include"
  mkdir -p "$tree/src/base" "$tree/src/queue" "$tree/src/time" "$tree/src/sched" "$tree/src/config_toml" \
    "$tree/include/fibrio"
  printf '#include <atomic>\n' >"$tree/src/base/atomic.hpp"
  printf '#include <sys/epoll.h>\n#include <boost/context/detail/fcontext.hpp>\n#include "base/atomic.hpp"\n' \
    >"$tree/src/queue/run_queue.hpp"
  printf '// no thread_local here\n/* atomic_thread_fence,\nthread_local */\nconst char* s = "thread_local // ";\n' \
    >"$tree/src/time/wheel.hpp"
  printf '#include "queue/run_queue.hpp"\n#include "sched/worker.hpp"\n#include <fibrio/futures.hpp>\n' \
    >"$tree/src/sched/worker.cpp"
  printf 'thread_local int worker;\n' >"$tree/src/sched/this_worker.cpp"
  printf '#include <fibrio/futures.hpp>\n#include <toml++/toml.h>\n' >"$tree/src/config_toml/reader.cpp"
  printf '#include <vector>\n#include <fibrio/errors.hpp>\n' >"$tree/include/fibrio/futures.hpp"
}

# expect_caught <what> <file> <line that must be printed> : the line is appended to the file
expect_caught() {
  clean_tree
  mkdir -p "$(dirname "$tree/$2")"
  printf '%s\n' "$3" >>"$tree/$2"
  if output=$(sh "$here/check.sh" "$tree" 2>&1); then
    echo "NOT CAUGHT: $1"
    failures=$((failures + 1))
  elif ! printf '%s\n' "$output" | grep -qF -- "$2" || ! printf '%s\n' "$output" | grep -qF -- "$3"; then
    echo "caught, but file or line is not named: $1"
    printf '%s\n' "$output"
    failures=$((failures + 1))
  else
    echo "caught: $1"
  fi
}

clean_tree
if output=$(sh "$here/check.sh" "$tree" 2>&1); then
  echo "accepted: a clean tree"
else
  echo "FALSE ALARM on a clean tree:"
  printf '%s\n' "$output"
  failures=$((failures + 1))
fi

expect_caught "an include of a higher layer" src/base/atomic.hpp '#include "sched/worker.hpp"'
expect_caught "an include of a sibling" src/queue/run_queue.hpp '  #  include "time/wheel.hpp"'
expect_caught "an upward include in angle brackets" src/queue/run_queue.hpp '#include <sched/worker.hpp>'
expect_caught "an include by relative path" src/queue/run_queue.hpp '#include "../time/wheel.hpp"'
expect_caught "an include without its room" src/queue/run_queue.hpp '#include "inject_queue.hpp"'
expect_caught "an include of no room" src/queue/run_queue.hpp '#include "support/catch.hpp"'
expect_caught "a public header that includes src/" include/fibrio/futures.hpp '#include "task/task.hpp"'
expect_caught "a public header that includes a room in angle brackets" include/fibrio/futures.hpp '#include <task/task.hpp>'
expect_caught "a public header that includes Boost" include/fibrio/futures.hpp '#include <boost/version.hpp>'
expect_caught "a public header that includes a system header" include/fibrio/futures.hpp '#include <sys/socket.h>'
expect_caught "a component that includes a room" src/config_toml/reader.cpp '#include "base/atomic.hpp"'
expect_caught "thread_local" src/base/atomic.hpp 'static thread_local int x;'
expect_caught "thread_local after a comment" src/base/atomic.hpp '/* why */ thread_local int x;'
expect_caught "a bare fence" src/queue/run_queue.hpp 'std::atomic_thread_fence(std::memory_order_seq_cst);'
expect_caught "a parameter that overflows" include/fibrio/futures.hpp 'void sleep(Duration delay);'
expect_caught "an option that overflows" include/fibrio/futures.hpp '  std::optional<Duration> timeout = {};'
expect_caught "a folder that is no room" src/misc/helpers.hpp 'src/misc/helpers.hpp: not in a room'

clean_tree
awk 'BEGIN { for (i = 0; i < 501; ++i) print "// line" }' >"$tree/src/base/long.hpp"
if output=$(sh "$here/check.sh" "$tree" 2>&1); then
  echo "NOT CAUGHT: a file of 501 lines"
  failures=$((failures + 1))
elif ! printf '%s\n' "$output" | grep -qF 'src/base/long.hpp: 501 lines'; then
  echo "caught, but not named: a file of 501 lines"
  failures=$((failures + 1))
else
  echo "caught: a file of 501 lines"
fi

if [ "$failures" -ne 0 ]; then
  echo "layering self-test: $failures failed"
  exit 1
fi
echo "layering self-test: all caught"
