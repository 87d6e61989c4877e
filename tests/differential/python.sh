#!/bin/sh
# sh tests/differential/python.sh <argument of differential.py>...
# Runs differential.py with FIBRIO_PYTHON, or python3. Exits with 77, which ctest takes for "skipped", if that is not
# there or is older than 3.11.
set -eu

python=${FIBRIO_PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "skipped: '$python' is no Python from 3.11 on (FIBRIO_PYTHON names another one)"
  exit 77
fi
exec "$python" "$(dirname "$0")/differential.py" "$@"
