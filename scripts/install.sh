#!/bin/sh
# Make .venv beside the checkout and install into it, once per change of constraints.txt or pyproject.toml.
# Usage: scripts/install.sh [EXTRAS]; the extras of pyproject.toml, "training" by default.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
extras=${1:-training}
stamp="$root/.venv/.installed-$extras"

exec 9<"$root/scripts"
flock 9 # a second start waits for the first one's installation

python=
for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "install.sh: python3 >= 3.11 is needed and was not found. Debian/Ubuntu: install the packages python3 and python3-venv." >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "install.sh: $python has no venv. Debian/Ubuntu: install the package python$version-venv." >&2
    exit 1
fi

wanted=$(cat "$root/constraints.txt" "$root/pyproject.toml" | sha256sum)
if [ -x "$root/.venv/bin/weaver" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
echo "Installing into $root/.venv (once per change of the constraints; the first time takes some minutes) ..." >&2
[ -x "$root/.venv/bin/python" ] || "$python" -m venv "$root/.venv"
"$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" -e "$root[$extras]" >&2
echo "$wanted" >"$stamp"
