"""Wall time of `weaver status` and `weaver status --json` as whole processes, on a running factory."""

from __future__ import annotations

import statistics
import subprocess
import time

from factory import WEAVER, Factory, factory, publish

RUNS = 20


def measure(made: Factory, *words: str) -> list[float]:
    """Give the wall times of RUNS runs in seconds, after one that is not counted."""
    found = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run([WEAVER, *words], env=made.environ, cwd=made.home, stdout=subprocess.DEVNULL, check=True)
        found.append(time.perf_counter() - began)
    return found[1:]


def main() -> None:
    """Measure both forms."""
    with factory(WEAVER__GENERATION__ENABLED="false") as made:
        made.weaver("up")
        table, as_json = measure(made, "status"), measure(made, "status", "--json")
    publish(
        "status_time",
        {"table_median_s": statistics.median(table), "json_median_s": statistics.median(as_json), "table_max_s": max(table)},
        table_s=table, json_s=as_json,
    )  # fmt: skip


if __name__ == "__main__":
    main()
