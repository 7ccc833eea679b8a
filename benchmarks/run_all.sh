#!/usr/bin/env bash
# Measure every figure of the README anew, on an otherwise idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
for name in cli intake footprint latency first_deployment; do
    echo "== $name"
    .venv/bin/python "benchmarks/$name.py"
done
