#!/bin/sh
# Install what is missing, start everything that belongs on this host, wait until it runs. Exit 0 also when it already runs.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/install.sh"
export WEAVER_HOME="${WEAVER_HOME:-$root}"
exec "$root/.venv/bin/weaver" up
