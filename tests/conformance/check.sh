#!/bin/sh
# sh check.sh: docs/conformance.md is up to date, and no comment of a test names a row that is unknown.
# Ends with 77 (skipped) without python3.
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
exec python3 "$(dirname "$0")/table.py" --check
