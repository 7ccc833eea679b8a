#!/usr/bin/env bash
# Install what tests need, check the tree, run every test: ./scripts/test.sh [arguments for pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=1

./scripts/install.sh training,dev
./scripts/check.sh
exec .venv/bin/pytest -q "$@"
