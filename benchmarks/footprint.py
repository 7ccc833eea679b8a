"""Memory and processor time of a factory at rest.

PSS (proportional set size) of each program from /proc/<pid>/smaps_rollup in MB (10^6 bytes); processor time as utime + stime of
all programs over `--rest-s` seconds, in per cent of one core. watch_inbox is read before and after it tokenised a drop.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from factory import ROOT, Factory, factory, publish, wait_for

HEAVY = ("oracle", "trainer")


def pids(made: Factory) -> dict[str, int]:
    """Give the process id of every living program, the Weaver and the trainer included."""
    status = made.status()
    found = {row["name"]: row["pid"] for row in status["daemons"] if row["pid"]}
    found["weaver"] = status["supervisor"]["pid"]
    beat = made.view("procs/trainer.json")
    if beat is not None and Path(f"/proc/{beat['pid']}").exists():
        found["trainer"] = beat["pid"]
    return found


def pss_mb(pid: int) -> float:
    """Give the proportional set size of a process in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"/proc/{pid}/smaps_rollup has no Pss line")


def cpu_s(pid: int) -> float:
    """Give the processor time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Start, let it come to rest, read, drop a file, read again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rest-s", type=float, default=300.0)
    args = parser.parse_args()
    with factory(WEAVER__GENERATION__ENABLED="false") as made:
        made.weaver("up")
        scored = "base scored"
        wait_for(scored, 120, lambda: list((made.home / "models/tiny/scores").glob("checkpoint-0-*/*.json")))
        time.sleep(20)
        programs = pids(made)
        memory = {name: pss_mb(pid) for name, pid in programs.items()}
        before = {name: cpu_s(pid) for name, pid in programs.items()}
        time.sleep(args.rest_s)
        used = {name: cpu_s(pid) - before[name] for name, pid in programs.items()}
        text = (ROOT / "tests/data/chat-messages.jsonl").read_text(encoding="utf-8")
        made.drop("footprint.jsonl", [json.loads(line) for line in text.splitlines()])
        wait_for("the drop's job", 60, lambda: made.find("-footprint"))
        tokenising = pss_mb(programs["watch_inbox"])
    light = {name: value for name, value in memory.items() if name not in (*HEAVY, "web", "weaver")}
    figures = {f"pss_{name}_mb": value for name, value in sorted(memory.items())}
    figures["pss_watch_inbox_tokenising_mb"] = tokenising
    figures["pss_largest_light_daemon_mb"] = max(light.values())
    figures["pss_sum_mb"] = sum(value for name, value in memory.items() if name not in HEAVY)
    figures["pss_sum_tokenising_mb"] = figures["pss_sum_mb"] - memory["watch_inbox"] + tokenising
    figures["rest_cpu_percent"] = 100 * sum(used.values()) / args.rest_s
    publish("footprint", figures, cpu_s=used, rest_s=args.rest_s)


if __name__ == "__main__":
    main()
