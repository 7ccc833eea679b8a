#!/usr/bin/env bash
# Check the tree without running the factory: style, types, import contracts, the rules of the house.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy --strict -p core -p daemons -p trainer -p weaver -p tests
.venv/bin/lint-imports --no-logo
.venv/bin/pytest -q tests/house
