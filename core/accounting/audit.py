"""The audit: every invariant that can be seen from the files and processes of a home, live or stopped.

Place in the flow: `weaver audit` and the tests of faults ask. Writes nothing. I6 (exact resume) and I13 (clocks) cannot be seen
from outside: tests hold them.
"""

from __future__ import annotations

import time

from core.accounting.checkpoints import check_protected, check_serving, check_weights
from core.accounting.files import check_bounds, check_queued, check_views
from core.accounting.lines import account
from core.accounting.processes import compare, look
from core.accounting.records import Audit
from core.accounting.training import check_training
from core.checkpoints.ledger import Ledger
from core.paths import Paths


def audit(paths: Paths) -> Audit:
    """Check everything once. Never raises for what it finds wrong."""
    first = look(paths, time.monotonic())
    ledger = Ledger(paths)
    totals, lines = account(paths, ledger)
    found = {
        "I1": lines, "I2": check_training(paths, ledger), "I3": check_queued(paths), "I4": check_views(paths),
        "I7": check_weights(paths, ledger), "I8": check_serving(paths, ledger), "I11": check_protected(paths, ledger),
        "I12": check_bounds(paths),
    }  # fmt: skip
    found["I5"], found["I9"], found["I10"] = compare(first, look(paths, time.monotonic()))
    invariants = [found[name].invariant(name) for name in sorted(found, key=lambda name: int(name[1:]))]
    return Audit(ok=all(invariant.ok for invariant in invariants), lines=totals, invariants=invariants)
