#!/bin/sh
# Save and stop everything of this home. Exit 0 also when nothing runs.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export WEAVER_HOME="${WEAVER_HOME:-$root}"
if [ ! -x "$root/.venv/bin/weaver" ]; then
    echo "Nothing is installed in $root, so nothing runs." >&2
    exit 0
fi
exec "$root/.venv/bin/weaver" down
