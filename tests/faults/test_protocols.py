"""Every protocol broken in every one of its system calls: killed, disk full, disk broken, power cut; then the next life.

Nothing that was promised is lost, whatever was on the way is finished, and the audit finds every line and every invariant.
"""

from __future__ import annotations

import errno
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import WeaverError
from tests.faults.breaking import BrokenAt, Killed
from tests.faults.power_cut import every_cut
from tests.faults.protocols import PROTOCOLS, Protocol
from tests.faults.stage import Stage

SEED = 20261121
DISKS = 24
FAULTS = {
    "killed before": (None, False), "killed after": (None, True), "full": (errno.ENOSPC, False), "broken": (errno.EIO, False),
}  # fmt: skip
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=[protocol.name for protocol in PROTOCOLS])


def numbered(root: Path) -> Iterator[Path]:
    return (root / str(number) for number in itertools.count())


@every_protocol
@pytest.mark.parametrize("fault", FAULTS)
def test_protocol_broken_in_any_call_is_finished_by_the_next_life(tmp_path: Path, protocol: Protocol, fault: str) -> None:
    found, error = list[str](), FAULTS[fault][0]
    for at, root in enumerate(numbered(tmp_path)):
        ops = BrokenAt(at, *FAULTS[fault])
        try:
            protocol.begin(protocol.make(root), ops)
        except Killed:
            assert error is None
        except (OSError, WeaverError):
            assert error is not None and ops.was_reached
        found += protocol.judge(root, f"{fault} in call {at}", is_done=not ops.was_reached)
        shutil.rmtree(root)
        if not ops.was_reached:
            break
    assert found == []
    assert at > 1, "no calls were seen"


@every_protocol
def test_protocol_whose_power_is_cut_in_any_call_keeps_what_it_promised(tmp_path: Path, protocol: Protocol) -> None:
    print(f"seed {SEED}")
    roots = numbered(tmp_path)

    def make() -> Path:
        return protocol.make(next(roots)).paths.home

    count, found = every_cut(
        make, lambda root, ops: protocol.begin(Stage(root), ops), protocol.judge, most=DISKS, rng=random.Random(SEED)
    )
    print(f"{count} disks")
    assert found == []
    assert count > 4
