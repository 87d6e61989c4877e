#!/bin/sh
# sh check.sh <root of the source tree>
# The rules of the house that a compiler does not check. Prints every offending line; fails if there is one.
#
#   1. A room (a folder of src/) includes itself and rooms of strictly lower layers, by "room/file.hpp".
#   2. include/fibrio includes the standard library and fibrio/... only (exceptions: may_include).
#   3. Optional components (layer 7) include themselves and fibrio/... only, never a room.
#   4. A file of src/ has at most 500 lines.
#   5. thread_local lives in src/sched/this_worker.cpp alone; there is no atomic_thread_fence.
#   6. Every source file of src/ is in a room that is listed here.
#   7. Parameters and options of public headers are AnyDuration, not Duration: hours::max() must mean "for ever".
#      Results and our own functions may be Durations (may_have_duration).
set -eu

root=${1:?usage: check.sh ROOT}
cd "$root"

files=$(find src include -type f \( -name '*.cpp' -o -name '*.hpp' -o -name '*.ipp' -o -name '*.h' \) 2>/dev/null | LC_ALL=C sort)
if [ -z "$files" ]; then
  echo "layering: no sources under $root/src and $root/include" >&2
  exit 1
fi

# shellcheck disable=SC2086  # our own file names have no spaces
awk '
BEGIN {
  layers = "base 0 fiber 1 queue 1 time 1 poll 1 sched 2 task 3 sync 4 structured 4 offload 4 net 5" \
           " loop 6 introspect 6 config_toml 7 tls 7 http 7"
  n = split(layers, word, " ")
  for (i = 1; i <= n; i += 2) layer[word[i]] = word[i + 1]
  kComponent = 7
  kMaxLines = 500
  may_include["include/fibrio/sockets.hpp", "sys/socket.h"] = 1 # an Address is a sockaddr
  may_include["include/fibrio/detail/eliding_atomic.hpp", "sys/single_threaded.h"] = 1
  for (i = split("asio/buffer asio/error asio/system_executor beast/core/role system/error_code" \
                 " system/system_error", word, " "); i > 0; --i)
    may_include["include/fibrio/asio_stream.hpp", "boost/" word[i] ".hpp"] = 1 # it is the bridge to Boost.Asio
  may_include["include/fibrio/detail/libc/errno.h", "errno.h"] = 1 # the C library, and then ours
  may_have_thread_local["src/sched/this_worker.cpp"] = 1
  for (i = split("clock strand introspection detail/composing", word, " "); i > 0; --i)
    may_have_duration["include/fibrio/" word[i] ".hpp"] = 1
}

function offends(why) {
  printf "%s:%d: %s\n    %s\n", FILENAME, FNR, why, $0
  ++offences
}

# The line without comments; literals keep only their quotes. in_comment carries /* ... */ over lines.
function code_of(line,    out, c, two, i, length_) {
  out = ""
  length_ = length(line)
  for (i = 1; i <= length_; ++i) {
    c = substr(line, i, 1)
    two = substr(line, i, 2)
    if (in_comment) {
      if (two == "*/") { in_comment = 0; ++i }
    } else if (two == "//") {
      break
    } else if (two == "/*") {
      in_comment = 1
      ++i
    } else if (c == "\"") {
      out = out c
      for (++i; i <= length_ && substr(line, i, 1) != "\""; ++i) if (substr(line, i, 1) == "\\") ++i
      out = out c
    } else {
      out = out c
    }
  }
  return out
}

function check_line_count() {
  if (previous ~ /^src\// && lines > kMaxLines) {
    printf "%s: %d lines, at most %d\n", previous, lines, kMaxLines
    ++offences
  }
}

FNR == 1 {
  check_line_count()
  previous = FILENAME
  in_comment = 0
  split(FILENAME, part, "/")
  is_public = (part[1] == "include")
  room = is_public ? "" : part[2]
  if (!is_public && !(room in layer)) {
    printf "%s: not in a room that tests/layering/check.sh knows\n", FILENAME
    ++offences
    layer[room] = kComponent
  }
}

{ lines = FNR }

{
  was_in_comment = in_comment
  code = code_of($0)
}

!was_in_comment && /^[ \t]*#[ \t]*include/ {
  target = $0
  sub(/^[ \t]*#[ \t]*include(_next)?[ \t]*/, "", target)
  opening = substr(target, 1, 1)
  target = substr(target, 2)
  sub(/[">].*/, "", target)
  slash = index(target, "/")
  first = slash ? substr(target, 1, slash - 1) : ""
  if (opening != "\"" && opening != "<") {
    offends("an include that cannot be read")
  } else if (target ~ /(^|\/)\.\.?\//) {
    offends("an include by relative path")
  } else if (first == "fibrio") {
    # The public headers: everybody may.
  } else if (is_public) {
    if ((opening != "<" || target !~ /^[a-z0-9_]+$/) && !((FILENAME, target) in may_include))
      offends("a public header includes std and fibrio/ only")
  } else if (opening == "\"" && first == "") {
    offends("an include of our own without its room: \"room/" target "\"")
  } else if (first in layer) {
    if (first != room) {
      if (layer[room] == kComponent)
        offends("the component " room " includes the room " first "; it may use fibrio/... only")
      else if (layer[first] + 0 >= layer[room] + 0)
        offends("the room " room " (layer " layer[room] ") includes " first " (layer " layer[first] ")")
    }
  } else if (opening == "\"") {
    offends("\"" first "/\" is no room")
  }
}

code ~ /(^|[^A-Za-z0-9_])(thread_local|__thread)([^A-Za-z0-9_]|$)/ && !(FILENAME in may_have_thread_local) {
  offends("thread_local is for src/sched/this_worker.cpp alone: a fiber may wake up on another thread")
}

is_public && code ~ /(^|[^A-Za-z0-9_])Duration>? [a-z_]+ *[=,;){]/ && !(FILENAME in may_have_duration) &&
    code !~ /deadline_after|run_staggered_race|Duration duration;/ {
  offends("a duration that a user gives is an AnyDuration: Duration overflows on the way from hours::max()")
}

code ~ /(^|[^A-Za-z0-9_])atomic_(thread|signal)_fence([^A-Za-z0-9_]|$)/ {
  offends("no bare fences: sanitizers do not see them")
}

END {
  check_line_count()
  if (offences) {
    printf "layering: %d offence%s\n", offences, offences == 1 ? "" : "s"
    exit 1
  }
}
' $files

echo "layering: $(printf '%s\n' "$files" | wc -l | tr -d ' ') files, all in order"
