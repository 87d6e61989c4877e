#!/usr/bin/env bash
# tests/ends/server_faults.sh <http_server> [SEED]
# fail-at-k on the example server as it is installed: strace makes one system call fail, the first time, the third, or at
# a moment of the seed's. The server may end by a clear error, or serve on; then a request after the fault is answered,
# and SIGTERM ends it in order. It never dies by a signal. Without FIBRIO_ENDS_ROUNDS: the first time only.
# Exits with 77 where strace or curl is missing, or may not trace.
set -euo pipefail

server=${1:?usage: server_faults.sh HTTP_SERVER}
seed=${2:-1}
for tool in strace curl; do
  command -v $tool >/dev/null || { echo "skipped: no $tool" && exit 77; }
done
strace -qq -o /dev/null true 2>/dev/null || { echo "skipped: strace may not trace here" && exit 77; }

faults=(socket:EMFILE socket:ENOBUFS bind:EADDRINUSE listen:EADDRINUSE epoll_create1:EMFILE epoll_ctl:ENOSPC
  epoll_pwait2:EINTR epoll_pwait2:ENOSYS epoll_pwait2:EPERM epoll_pwait:EINTR eventfd2:EMFILE clone3:EAGAIN
  accept4:EMFILE accept4:ENFILE accept4:ECONNABORTED accept4:EPERM accept4:ENOMEM
  recvfrom:ECONNRESET recvfrom:EINTR sendto:EPIPE sendto:EINTR sendto:ENOMEM setsockopt:ENOPROTOOPT
  getsockname:ENOBUFS madvise:ENOMEM madvise:EINVAL close:EIO close:EINTR)

work=$(mktemp -d)
pid=
clean_up() {
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
runs=0 came=0 survived=0
declare -A reached

# ask <url>: true if it is answered with 200.
ask() { [ "$(curl -s -o /dev/null -m 5 -w '%{http_code}' "$1" || true)" = 200 ]; }

# one_run <call> <errno> <when>
one_run() {
  local what="$1 fails with $2, time $3" url='' serves=1 status=0 answered=0 i
  : >"$work/out"
  timeout -k 1 40 strace -f -qq -o "$work/trace" -e "trace=$1" -e "inject=$1:error=$2:when=$3" \
    "$server" --host 127.0.0.1 --port 0 --workers 2 --grace 1 >"$work/out" 2>"$work/err" &
  pid=$!
  for ((i = 0; i < 100; ++i)); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\) .*/\1/p' "$work/out" || true)
    if [ -n "$url" ] || ! kill -0 $pid 2>/dev/null; then break; fi
    sleep 0.05
  done
  if [ -n "$url" ]; then
    for ((i = 0; i < 8 && answered < 3; ++i)); do
      if ask "$url/"; then answered=$((answered + 1)); else answered=0; fi
    done
    # To the server itself: timeout -> strace -> server.
    pkill -TERM -P "$(pgrep -P $pid)" 2>/dev/null || true
    [ $answered -eq 3 ] || serves=0
  fi
  wait $pid || status=$?
  pid=
  runs=$((runs + 1))
  grep -q INJECTED "$work/trace" || return 0
  came=$((came + 1))
  reached[$1]=1
  if [ $serves -eq 0 ] && [ $status -eq 0 ]; then
    echo "$what: it serves no more"
  elif [ $status -eq 124 ] || [ $status -gt 127 ]; then
    echo "$what: ends with status $status"
  elif [ $status -ne 0 ] && [ ! -s "$work/err" ]; then
    echo "$what: ends with status $status and without a word"
  else
    survived=$((survived + 1))
    return 0
  fi
  sed 's/^/    /' "$work/err" | head -n 5
}

points=()
for fault in "${faults[@]}"; do
  call=${fault%:*}
  [[ " ${points[*]-} " == *" $call "* ]] || points+=("$call")
  times=(1)
  [ -z "${FIBRIO_ENDS_ROUNDS:-}" ] || times+=(3 $((4 + (seed + 7 * ${#points[@]}) % 9)))
  for when in "${times[@]}"; do one_run "$call" "${fault#*:}" "$when"; done
done
echo "ends: fail_at_k_server: points=${#reached[@]} runs=$runs faults=$came survived=$survived"
[ $survived -eq $came ] || exit 1
for call in "${points[@]}"; do
  [ -n "${reached[$call]:-}" ] || { echo "no run reached $call" && exit 1; }
done
