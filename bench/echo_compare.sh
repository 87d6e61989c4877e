#!/usr/bin/env bash
# Question: what does a 64-byte echo cost on fibrio beside a raw epoll loop? (W8)
#
#   bench/echo_compare.sh [options] BUILD_DIR
#     -s SECONDS   per measurement (3)      -r ROUNDS   interleaved, so that drift meets all alike (5)
#     -c LIST      connections ("64 1000")  -w LIST     workers or threads ("1 2")
#     -p           no pinning with one worker (default: server on CPU 0, load on CPU 1)
#
# All servers are up all the time, idle but for the one that is measured. Figures are median (min-max) of the rounds.
# With two workers the load generator shares the two CPUs with the server; requests per second and latency are then
# those of the three together.
set -u

seconds=3 rounds=5 connections="64 1000" workers="1 2" pin=1
usage() { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit "$1"; }
while getopts "s:r:c:w:ph" option; do
  case $option in
    s) seconds=$OPTARG ;; r) rounds=$OPTARG ;; c) connections=$OPTARG ;; w) workers=$OPTARG ;; p) pin=0 ;;
    h) usage 0 ;; *) usage 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage 2
build=$1
[ "$(nproc)" -ge 2 ] && command -v taskset > /dev/null || pin=0

find_program() { find "$build" -type f -perm -u+x -name "$1" | head -1; }
fibrio=$(find_program server_echo) raw=$(find_program raw_epoll_echo) load=$(find_program raw_echo_load)
[ -n "$fibrio" ] && [ -n "$raw" ] && [ -n "$load" ] || {
  echo "echo_compare: server_echo, raw_epoll_echo or raw_echo_load is not in $build"
  exit 1
}

work=$(mktemp -d)
names=() pids=() ports=() pinned=()
# Every server ends with the script, however that ends.
stop_all() {
  for pid in ${pids[@]+"${pids[@]}"}; do kill "$pid" 2> /dev/null; done
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" 2> /dev/null; done
  rm -rf "$work"
}
trap stop_all EXIT
trap 'exit 130' INT TERM

# start NAME WORKERS COMMAND...: runs a server; its port is what it prints.
start() {
  local name=$1 count=$2 log=$work/${#names[@]}.log port="" prefix=""
  shift 2
  [ $pin -eq 1 ] && [ "$count" -eq 1 ] && prefix="taskset -c 0"
  $prefix "$@" > "$log" 2>&1 &
  pids+=("$!")
  for _ in $(seq 100); do
    port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$log" | head -1)
    [ -z "$port" ] || break
    sleep 0.05
  done
  [ -n "$port" ] || { echo "echo_compare: $name does not start: $(tail -1 "$log")"; exit 1; }
  names+=("$name, $count") ports+=("$port") pinned+=("$prefix")
}

for count in $workers; do
  start "raw epoll" "$count" "$raw" --threads "$count"
  start "fibrio" "$count" "$fibrio" --workers "$count"
done

echo "$(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), Linux $(uname -r)," \
  "$rounds rounds of $seconds s; load average $(cut -d' ' -f1 /proc/loadavg)"
failed=0
for ((round = 0; round < rounds; round++)); do
  for count in $connections; do
    for ((i = 0; i < ${#names[@]}; i++)); do
      prefix=""
      [ -n "${pinned[i]}" ] && prefix="taskset -c 1"
      timeout $((${seconds%.*} + 30)) $prefix "$load" --port "${ports[i]}" --connections "$count" \
        --seconds "$seconds" --pid "${pids[i]}" >> "$work/$i.$count" || failed=1
    done
  done
done

printf '\n%-14s %5s  %24s  %26s  %20s  %26s\n' "server, workers" conns "requests/s" "server CPU us/request" \
  "p50 us" "p99 us"
median() {  # of the number before the words $2 in file $1, with printf format $3; $4: the number comes after them
  if [ "${4:-}" = after ]; then
    sed -n "s/.*$2 \([0-9.]*\).*/\1/p" "$1"
  else
    sed -n "s/^\([0-9.]*\) $2.*/\1/p" "$1"
  fi | sort -g | awk -v format="$3" '
    { value[NR] = $1 }
    END { printf format " (" format "-" format ")", value[int((NR + 1) / 2)], value[1], value[NR] }'
}
for count in $connections; do
  for ((i = 0; i < ${#names[@]}; i++)); do
    file=$work/$i.$count
    printf '%-14s %5s  %24s  %26s  %20s  %26s\n' "${names[i]}" "$count" "$(median "$file" 'requests\/s' %.0f)" \
      "$(median "$file" 'server CPU' %.2f after)" "$(median "$file" p50 %.0f after)" "$(median "$file" p99 %.0f after)"
  done
done
[ $failed -eq 0 ] || echo "echo_compare: some runs had errors"
exit $failed
