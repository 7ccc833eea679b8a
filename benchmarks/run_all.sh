#!/usr/bin/env bash
# Measure every figure of the README anew, on an otherwise idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/install.sh training,dev,bench # with the programs that are measured against
for name in cli intake spool supervision footprint latency faults first_deployment; do
    echo "== $name"
    .venv/bin/python "benchmarks/$name.py"
done
