#!/usr/bin/env bash
# Install what tests need, check the tree, run every test: ./scripts/test.sh [arguments for pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=1

# The page is tested in a real browser. Where none can be had, those tests are skipped and say so.
has_browser() { command -v chromium >/dev/null && command -v chromedriver >/dev/null; }
if ! has_browser && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive timeout 300 sh -c 'apt-get -qq update; apt-get -qq install -y chromium chromium-driver' </dev/null >/dev/null 2>&1 || true
fi
has_browser || echo "Chromium cannot be had: the tests of the page are skipped (apt-get install chromium chromium-driver)."

./scripts/install.sh training,dev
./scripts/check.sh
exec .venv/bin/pytest -q "$@"
