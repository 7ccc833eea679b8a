"""Everything that grows has a bound, written down here and held by somebody (I12).

A published record replaces the one before it and grows with what it lists; what is appended to, or printed, grows with time.
Each module that does the latter is listed with what it writes and who keeps that bounded; a new one must say so here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from core.log import BURST, EVENT_BYTES, LOG_BYTES, LOG_FILES, LONGEST_HALF, OUT_BYTES, OUT_FLOOD_BYTES, OUT_KEPT_BYTES
from core.pulse import BEAT_S
from daemons.roster import ROSTER
from tests.house.tree import modules
from weaver.desired import PROGRAMS
from weaver.outputs import FLOOD_BYTES

APPENDS = {"append_record", "RotatingFileHandler", "spawn"}
BOUNDS = {
    "core/files.py": "defines append_record",
    "core/log.py": "logs/<program>.jsonl: LOG_FILES of LOG_BYTES; logs/events/<program>.jsonl: two of EVENT_BYTES",
    "core/jobs/spool.py": "attempts.jsonl of a job: claims by queue.retries, deaths by daemons/training/ends.py",
    "core/jobs/poison.py": "poison lines of a job: at most one record a line",
    "core/checkpoints/served.py": "deployments.jsonl: one record a verdict, of which each checkpoint gets few",
    "core/evals/superseded.py": "superseded.jsonl: at most one record a checkpoint",
    "daemons/harness/base.py": "logs/<child>.out: cut by keep_end in core/log.py",
    "daemons/send_notices.py": "logs/<child>.out: cut by keep_end in core/log.py",
    "daemons/train_next.py": "logs/trainer.out: cut by keep_end in core/log.py",
    "weaver/lifecycle.py": "logs/weaver.out: cut by keep_end in core/log.py",
    "weaver/supervisor.py": "logs/<program>.out: cut by keep_end in core/log.py",
}


def growers(tree: ast.Module) -> Iterator[str]:
    """Give the calls by which something grows."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in APPENDS:
                yield name


def test_every_module_that_makes_something_grow_says_what_bounds_it() -> None:
    found = {name for name, tree in modules().items() if list(growers(tree))} - {"core/files.py"}
    listed = BOUNDS.keys() - {"core/files.py"}
    assert found - listed == set(), "say here what bounds what these append to"
    assert listed - found == set(), "these no longer append"


def test_logs_of_all_programs_together_have_a_bound_that_a_small_disk_can_hold() -> None:
    names = {*ROSTER, *(program.name for program in PROGRAMS), "weaver"}
    flood = 100_000 * 100 * BEAT_S  # bytes, until the next beat, which cuts without a Weaver
    assert FLOOD_BYTES < flood < OUT_FLOOD_BYTES
    each = LOG_BYTES * LOG_FILES + 2 * EVENT_BYTES + OUT_BYTES + OUT_FLOOD_BYTES
    assert each <= 170e6 and each * len(names) < 5e9, "under the disk floor for every program at its worst"
    assert OUT_KEPT_BYTES < OUT_BYTES
    assert BURST * 2 * LONGEST_HALF < LOG_BYTES, "no second of a flood overwrites a whole file of the log"
