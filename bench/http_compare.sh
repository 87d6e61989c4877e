#!/usr/bin/env bash
# Question: what does the "Hello, world" of examples/http_server cost beside a raw epoll loop and nginx? (W9)
#
#   bench/http_compare.sh [options] BUILD_DIR
#     -s SECONDS   per measurement (3)      -r ROUNDS   interleaved, so that drift meets all alike (5)
#     -c LIST      connections ("64 1000")  -w LIST     workers or threads ("1 2")
#     -p           no pinning with one worker (default: server on CPU 0, wrk on CPU 1)
#
# All servers are up all the time, idle but for the one that is measured. Figures are median (min-max) of the rounds.
# The unit to look at is the server's CPU time per request: wrk needs the other core and is often the bottleneck, so
# requests per second say more about wrk than about a good server. It does not measure latency.
set -u

seconds=3 rounds=5 connections="64 1000" workers="1 2" pin=1
usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit "$1"; }
while getopts "s:r:c:w:ph" option; do
  case $option in
    s) seconds=$OPTARG ;; r) rounds=$OPTARG ;; c) connections=$OPTARG ;; w) workers=$OPTARG ;; p) pin=0 ;;
    h) usage 0 ;; *) usage 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage 2
build=$1
command -v wrk > /dev/null || { echo "http_compare: wrk not found (Debian: wrk)"; exit 77; }
[ "$(nproc)" -ge 2 ] && command -v taskset > /dev/null || pin=0

find_program() { find "$build" -type f -perm -u+x \( -name "$1" -o -name "raw_$1" \) | head -1; }
server=$(find_program http_server)
raw=$(find_program epoll_http)
[ -n "$server" ] && [ -n "$raw" ] || { echo "http_compare: http_server or epoll_http is not in $build"; exit 1; }
nginx=$(command -v nginx || { [ -x /usr/sbin/nginx ] && echo /usr/sbin/nginx; } || true)

work=$(mktemp -d)
chmod 755 "$work"
names=() pids=() ports=() pinned=()
# Every server ends with the script, however that ends.
stop_all() {
  for pid in ${pids[@]+"${pids[@]}"}; do kill "$pid" 2> /dev/null; done
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" 2> /dev/null; done
  rm -rf "$work"
}
trap stop_all EXIT
trap 'exit 130' INT TERM

# start NAME WORKERS COMMAND...: runs a server; its port is what it prints, or $fixed_port.
start() {
  local name=$1 count=$2 log=$work/${#names[@]}.log port=${fixed_port:-} prefix=""
  shift 2
  [ $pin -eq 1 ] && [ "$count" -eq 1 ] && prefix="taskset -c 0"
  $prefix "$@" > "$log" 2>&1 &
  local pid=$!
  pids+=("$pid")
  for _ in $(seq 100); do
    [ -n "${fixed_port:-}" ] || port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$log" | head -1)
    if [ -n "$port" ] && curl -sf -o "$work/body" "http://127.0.0.1:$port/"; then
      [ "$(cat "$work/body")" = "Hello, world!" ] || { echo "http_compare: $name answers something else"; exit 1; }
      names+=("$name") ports+=("$port") pinned+=("$prefix")
      return 0
    fi
    kill -0 "$pid" 2> /dev/null || break
    sleep 0.05
  done
  echo "http_compare: $name does not start: $(tail -1 "$log")"
  return 1
}

start_nginx() {
  fixed_port=$((20000 + RANDOM % 10000))
  mkdir "$work/nginx$1"
  cat > "$work/nginx$1.conf" <<CONF
daemon off;
worker_processes $1;
pid $work/nginx$1/pid;
error_log $work/nginx$1/error.log;
events { worker_connections 8192; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path $work/nginx$1/body;
  proxy_temp_path $work/nginx$1/proxy;
  fastcgi_temp_path $work/nginx$1/fastcgi;
  uwsgi_temp_path $work/nginx$1/uwsgi;
  scgi_temp_path $work/nginx$1/scgi;
  server {
    listen 127.0.0.1:$fixed_port backlog=4096;
    location = / { default_type text/plain; return 200 "Hello, world!\n"; }
  }
}
CONF
  start "nginx" "$1" "$nginx" -p "$work/nginx$1" -c "$work/nginx$1.conf"
  local result=$?
  unset fixed_port
  return $result
}

# CPU time of a process, its threads and its children (nginx's workers), in ns.
cpu_ns() {
  local sum=0 pid ns
  for pid in "$1" $(cat /proc/"$1"/task/*/children 2> /dev/null); do
    for ns in $(cut -d' ' -f1 /proc/"$pid"/task/*/schedstat 2> /dev/null); do sum=$((sum + ns)); done
  done
  echo "$sum"
}

# measure SERVER CONNECTIONS: appends "requests_per_second cpu_us_per_request errors" to the server's file.
measure() {
  local index=$1 count=$2 prefix="" before after
  [ -n "${pinned[index]}" ] && prefix="taskset -c 1"
  before=$(cpu_ns "${pids[index]}")
  timeout $((${seconds%.*} + 30)) $prefix wrk -t1 "-c$count" "-d${seconds}s" \
    "http://127.0.0.1:${ports[index]}/" > "$work/wrk" 2>&1
  after=$(cpu_ns "${pids[index]}")
  awk -v cpu=$((after - before)) '
    /requests in/ { requests = $1 }
    /Requests\/sec/ { rate = $2 }
    /Socket errors/ { gsub(",", ""); errors += $4 + $6 + $8 + $10 }
    /Non-2xx/ { errors += $NF }
    END { if (requests) print rate, cpu / 1000 / requests, errors + 0; else print 0, 0, 1 }
  ' "$work/wrk" >> "$work/$index.$count"
}

for count in $workers; do
  start "raw epoll" "$count" "$raw" --threads "$count" || exit 1
  start "fibrio shared" "$count" "$server" --port 0 --workers "$count" --accept shared || exit 1
  start "fibrio reuseport" "$count" "$server" --port 0 --workers "$count" --accept reuseport || exit 1
  [ -n "$nginx" ] && start_nginx "$count"
  for ((i = ${group_start:-0}; i < ${#names[@]}; i++)); do names[i]="${names[i]}, $count"; done
  group_start=${#names[@]}
done

echo "$(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), Linux $(uname -r)"
echo "$(wrk --version 2>&1 | head -1 | cut -d[ -f1); ${nginx:+$("$nginx" -v 2>&1 | cut -d: -f2);}" \
  "$rounds rounds of $seconds s; load average $(cut -d' ' -f1 /proc/loadavg)"
for ((round = 0; round < rounds; round++)); do
  for count in $connections; do
    for ((i = 0; i < ${#names[@]}; i++)); do measure "$i" "$count"; done
  done
done

printf '\n%-22s %5s  %26s  %28s  %6s\n' "server, workers" "conns" "requests/s" "server CPU us per request" "errors"
median() {  # of column $2 in file $1, with printf format $3
  cut -d' ' -f"$2" "$1" | sort -g | awk -v format="$3" '
    { value[NR] = $1 }
    END { printf format " (" format "-" format ")", value[int((NR + 1) / 2)], value[1], value[NR] }'
}
failed=0
for count in $connections; do
  for ((i = 0; i < ${#names[@]}; i++)); do
    file=$work/$i.$count
    errors=$(awk '{ sum += $3 } END { print sum }' "$file")
    [ "$errors" = 0 ] || failed=1
    printf '%-22s %5s  %26s  %28s  %6s\n' "${names[i]}" "$count" "$(median "$file" 1 %.0f)" \
      "$(median "$file" 2 %.2f)" "$errors"
  done
done
exit $failed
