"""What an audit can make right: views and copies, which follow from the truth. The truth itself is never touched.

Place in the flow: `weaver audit --repair` calls it before it audits. Writes the ledger copies that are missing and
status/data_lineage.json; removes torn views, whose owners write them again, and temporary files of killed writers. Invariant:
nothing under queue/ or models/ but a copy or a left-over is changed, so that a repair can be repeated at any time.
"""

from __future__ import annotations

import time

from core.accounting.files import views
from core.checkpoints.ledger import Ledger
from core.checkpoints.removal import temporaries
from core.files import OPS, Ops
from core.jobs.lineage import LineageTally
from core.paths import Paths


def repair(paths: Paths, ops: Ops = OPS) -> list[str]:
    """Rebuild what follows from the truth; give what was done, one sentence each."""
    done = list[str]()
    ledger = Ledger(paths)
    for model in ledger.models():
        done += [f"wrote the missing ledger copy of {model}/{name}" for name in ledger.keep_copies(model)]
    for path, tear in views(paths):
        if tear is not None:
            ops.unlink(path)
            done.append(f"removed the torn view {path.relative_to(paths.home)}; its owner writes it again")
    if LineageTally(paths).keep_view(lambda: False):
        done.append("wrote status/data_lineage.json from the job folders")
    for path in temporaries(paths, time.time()):
        path.unlink(missing_ok=True)
        done.append(f"removed {path.relative_to(paths.home)}, left by a killed writer")
    return done
