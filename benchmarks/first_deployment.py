"""From the first start of a fresh home to what a person waits for, installation apart.

Seconds after `weaver up` was typed to: first training step, first checkpoint, first deployment, level 1 of each skill mastered,
levels 1-3 of both mastered ("nothing to learn"). Beside each the load average and the tokens trained by then.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from factory import WEAVER, Factory, factory, publish


def progress(made: Factory) -> dict[str, Any] | None:
    """Give the newest progress of any job."""
    found = [path / "progress.json" for state in ("processing", "completed") for path in made.jobs(state)]
    alive = [path for path in found if path.exists()]
    return json.loads(max(alive, key=lambda path: path.stat().st_mtime).read_bytes()) if alive else None


def mastered(made: Factory, skill: str, level: int) -> bool:
    """Say whether a level of a skill is mastered."""
    curriculum = made.view("curriculum.json")
    return curriculum is not None and curriculum["skills"][skill]["mastered_level"] >= level


def deployed(made: Factory) -> bool:
    """Say whether a checkpoint was deployed."""
    path = made.home / "models" / "tiny" / "deployments.jsonl"
    return path.exists() and '"verdict":"deployed"' in path.read_text(encoding="utf-8")


def milestones() -> dict[str, Callable[[Factory], bool]]:
    """Name what is waited for, in no order."""
    both = ("binary", "syllables")
    return {
        "healthy": lambda made: made.status()["state"] == "healthy",
        "first_step": lambda made: (progress(made) or {"step": 0})["step"] > 0,
        "first_checkpoint": lambda made: len(list((made.home / "models" / "tiny").glob("checkpoint-[1-9]*"))) > 0,
        "first_deployment": deployed,
        "binary_level_1": lambda made: mastered(made, "binary", 1),
        "syllables_level_1": lambda made: mastered(made, "syllables", 1),
        "all_levels": lambda made: all(mastered(made, skill, 3) for skill in both),
    }


def main() -> None:
    """Measure until the last milestone wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", choices=["level-1", "all"], default="all")
    parser.add_argument("--timeout-s", type=float, default=1800.0)
    args = parser.parse_args()
    waiting = milestones()
    if args.until == "level-1":
        del waiting["all_levels"]
    figures: dict[str, float] = {}
    with factory() as made:
        began = time.monotonic()
        up = subprocess.Popen([WEAVER, "up"], env=made.environ, cwd=made.home, stdout=subprocess.DEVNULL)
        while waiting and time.monotonic() - began < args.timeout_s:
            time.sleep(0.5)
            if not (made.home / "queue" / "processing").is_dir():
                continue
            for name in [name for name, reached in waiting.items() if reached(made)]:
                del waiting[name]
                figures[f"{name}_s"] = time.monotonic() - began
                tokens = (progress(made) or {"tokens_seen": 0})["tokens_seen"]
                figures[f"{name}_load"], figures[f"{name}_million_tokens"] = os.getloadavg()[0], tokens / 1e6
                print(f"{name}: {figures[f'{name}_s']:.1f} s, load {os.getloadavg()[0]:.1f}, {tokens} tokens", flush=True)
        up.wait()
    if waiting:
        raise SystemExit(f"not within {args.timeout_s:g} s: {', '.join(waiting)}")
    figures["first_level_of_both_s"] = max(figures["binary_level_1_s"], figures["syllables_level_1_s"])
    publish("first_deployment", figures)


if __name__ == "__main__":
    main()
