#!/bin/sh
# sh production_service.sh <33_production_service>
# Uses the service as its clients do, by curl, and stops it by SIGTERM in the middle of requests and jobs.
set -eu

command -v curl >/dev/null || { echo "skipped: no curl"; exit 77; }
folder=$(mktemp -d)
server=
asking=
trap 'for pid in $server $asking; do kill -9 "$pid" 2>/dev/null || true; done; rm -rf "$folder"' EXIT

fail() {
  echo "FAILED: $*"
  cat "$folder/output"
  exit 1
}
# until_true <what> <command>...: tries for 20 seconds.
until_true() {
  what=$1
  shift
  tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ $tries -lt 400 ] || fail "$what"
    sleep 0.05
  done
}
# start <command>...: sets $server and $base.
start() {
  : >"$folder/output"
  "$@" >"$folder/output" 2>&1 &
  server=$!
  until_true "it starts" grep -q '^production_service: http' "$folder/output"
  base=$(sed -n 's/^production_service: \(http:[^ ]*\).*/\1/p' "$folder/output")
}
ask() { curl -sS --max-time 20 -b "$folder/jar" "$@"; }
status() { ask -o /dev/null -w '%{http_code}' "$@"; }
log_in() { ask -c "$folder/jar" -d '{"user": "ann"}' "$base/login" >/dev/null; }
submit() { ask -d '{"text": "to be or not to be"}' "$base/jobs"; }
# has <path> <text>: whether the answer has that text.
has() { ask "$base$1" | grep -q "$2"; }
# expect <what> <wanted> <found>
expect() { [ "$2" = "$3" ] || fail "$1: wanted $2, found $3"; }
# stopped <exit code>: waits for the end.
stopped() {
  code=0
  wait "$server" || code=$?
  server=
  expect "exit code" "$1" "$code"
}

# Sessions, the cache, jobs.
start "$1" --workers 2 --consumers 2 --queue 3 --session-ttl 2 --lookup-time 1 --drain-delay 1 --grace 20
expect "alive" 200 "$(status "$base/healthz")"
until_true "ready once the cache is warm" has /readyz true
expect "the catalog" '{"apples":3,"pears":5}' "$(ask "$base/catalog")"
expect "no session" 401 "$(status "$base/report")"
log_in
expect "a report" '{"messages":["Welcome, ann"],"orders":[{"apples":2,"buyer":"ann"}],"user":"ann"}' \
  "$(ask "$base/report")"
expect "a body that is no JSON" 400 "$(status -d 'nonsense' "$base/jobs")"
expect "a job" '{"id":1}' "$(submit)"
expect "an empty job" '{"id":2}' "$(ask -d '{"text": ""}' "$base/jobs")"
until_true "the job's result" has /jobs/1 '"result":6,"state":"done"'
expect "a failed job" '{"id":2,"result":"there is no text","state":"failed"}' "$(ask "$base/jobs/2")"
expect "another one's job" 404 "$(status "$base/jobs/99")"
until_true "the session expires, and is removed" has /stats '"alive":0,"expired":1'
expect "an expired session" 401 "$(status "$base/report")"

# More jobs at once than there is room for: those that are refused are told so.
log_in
ask --parallel --parallel-immediate -d '{"text": "one two"}' -o /dev/null -w '%{http_code} %header{retry-after}\n' \
  "$base/jobs?[1-12]" >"$folder/statuses" 2>/dev/null
accepted=$(grep -c '^202' "$folder/statuses") || true
refused=$(grep -c '^503 1' "$folder/statuses") || true
expect "answers" 12 $((accepted + refused))
[ "$accepted" -ge 3 ] && [ "$refused" -ge 1 ] || fail "12 jobs at once: $accepted accepted, $refused refused"

# SIGTERM while requests and jobs are in flight: each is finished, nothing new is lost.
log_in
ask --parallel --parallel-immediate --parallel-max 40 -w '%{http_code}\n' -o /dev/null "$base/report?[1-40]" \
  >"$folder/reports" 2>/dev/null &
asking=$!
until_true "requests are in flight" has /stats '"in_flight":[2-4][0-9]'
kill -TERM "$server"
until_true "not ready" has /readyz draining
expect "still alive" 200 "$(status "$base/healthz")"
wait "$asking" || fail "curl ended with $?"
asking=
stopped 0
expect "reports" 40 "$(grep -c '^200' "$folder/reports")"
grep -q 'stopped: .* requests, 0 dropped; .* jobs, 0 dropped$' "$folder/output" || fail "the summary"

# Jobs that take longer than the grace period are dropped, and the exit code says so.
start "$1" --consumers 1 --lookup-time 60 --grace 0.1
log_in
submit >/dev/null
kill -TERM "$server"
stopped 1
grep -q '0 jobs, 1 dropped$' "$folder/output" || fail "the summary"

# A second signal does not wait for the grace period.
start "$1" --consumers 1 --lookup-time 60 --grace 600
log_in
submit >/dev/null
kill -TERM "$server"
until_true "draining" sh -c "! curl -sS --max-time 5 -o /dev/null '$base/healthz' 2>/dev/null"
kill -TERM "$server"
stopped 1
echo "the service does what it says"
