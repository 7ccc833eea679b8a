"""How long a person waits for the factory.

- drop_to_step_s: from the rename of a 1,000-line chat file into the inbox to the first optimizer step of its job, by the job's
  own progress.json, with the trainer warm and idle. drop_to_receipt_s: to its job folder in the queue.
- checkpoint_to_serving_s: from the rename of a checkpoint that is better than the champion to an answer of `champion` that the
  proof accepted, by the deployment record's time against the modification time of the checkpoint's folder: evaluation on all
  suites, ranking, decision, load and both proofs included.
Medians; all values are in the results file.
"""

from __future__ import annotations

import json
import statistics
import time
from datetime import datetime
from pathlib import Path

from factory import Factory, factory, publish, wait_for

from core.files import read_records

DROPS = 5
LINES = 1000


def lines(seed: int) -> list[dict[str, object]]:
    """Make LINES distinct chat lines that no other seed makes."""
    return [
        {"messages": [{"role": "user", "content": f"item {seed} {n}"}, {"role": "assistant", "content": f"value {n * seed}"}]}
        for n in range(LINES)
    ]


def stepped(made: Factory, slug: str) -> bool:
    """Say whether the job's first optimizer step is reported."""
    job = made.find(slug)
    return job is not None and (job / "progress.json").exists()


def drops(made: Factory) -> tuple[list[float], list[float]]:
    """Drop DROPS files one after the other, each on an idle warm trainer; give seconds to the step and to the receipt."""
    to_step, to_receipt = [], []
    for number in range(DROPS + 1):
        slug = f"latency-{number}"
        text = lines(number + 1)
        began = time.monotonic()
        made.drop(f"{slug}.jsonl", text)
        wait_for("the receipt", 60, lambda slug=slug: made.find(slug), 0.02)
        receipt = time.monotonic() - began
        wait_for("the first step", 120, lambda slug=slug: stepped(made, slug), 0.02)
        step = time.monotonic() - began
        wait_for("the end of the job", 300, lambda slug=slug: any(p.name.endswith(slug) for p in made.jobs("completed")), 0.2)
        if number:  # the first one starts the trainer
            to_step.append(step)
            to_receipt.append(receipt)
    return to_step, to_receipt


def deployments(made: Factory) -> list[float]:
    """Give, for every checkpoint that was deployed, the seconds from its publication to the proof of what is served."""
    root = made.home / "models" / "tiny"
    found = []
    for data in read_records(root / "deployments.jsonl"):
        record = json.loads(data)
        published = Path(root / "ledger" / f"{record['checkpoint']}.json").stat().st_mtime
        if record["verdict"] == "deployed":
            found.append(datetime.fromisoformat(record["at"]).timestamp() - published)
    return found


def main() -> None:
    """Measure both."""
    with factory() as made:
        made.weaver("up")
        path = made.home / "models" / "tiny" / "deployments.jsonl"
        wait_for("six deployments", 900, lambda: path.exists() and path.read_text().count('"verdict":"deployed"') >= 6, 1)
        serving = deployments(made)
    with factory(WEAVER__GENERATION__ENABLED="false") as made:
        made.weaver("up")
        to_step, to_receipt = drops(made)
    publish(
        "latency",
        {
            "drop_to_step_s": statistics.median(to_step), "drop_to_receipt_s": statistics.median(to_receipt),
            "checkpoint_to_serving_s": statistics.median(serving), "deployments": len(serving),
        },
        to_step_s=to_step, to_receipt_s=to_receipt, to_serving_s=serving,
    )  # fmt: skip


if __name__ == "__main__":
    main()
