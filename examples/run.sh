#!/usr/bin/env bash
# ./examples/run.sh [option of http_server]...
# Installs what is missing (Debian), builds the HTTP server in build/quick, serves port 8080 until Ctrl-C.
#   ./examples/run.sh --workers 2       ./examples/run.sh --port 9000       ./examples/run.sh --help
# FIBRIO_JOBS: parallel jobs (default: all CPUs).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../.ci/setup.sh"

need_packages "${kBuildPackages[@]}" "${kServerPackages[@]}"
configure quick -DFIBRIO_BUILD_TESTS=AUTO # the server alone needs no Catch2
build quick http_server

server=build/quick/examples/http_server
port=(--port 8080)
for argument in "$@"; do
  case $argument in --port | --port=*) port=() ;; esac
done
say "Running $server ${port[*]} $*"
exec "$server" "${port[@]}" "$@"
