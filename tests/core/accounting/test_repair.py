"""weaver audit --repair: views and copies are made again from the truth, and nothing else is touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

from core.accounting.repair import repair
from core.checkpoints.removal import LEFT_OVER_S
from core.paths import Paths
from tests.core.accounting.test_lines import put_head, train
from tests.core.home_files import make_home, put_job
from tests.weaver.cli.command import weaver


def contents(paths: Paths) -> dict[str, bytes]:
    """Give the truth: every file below queue/ and models/."""
    files = (path for folder in (paths.queue, paths.models) for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


def test_views_and_copies_come_back_and_the_truth_stays(tmp_path: Path) -> None:
    paths = make_home(tmp_path / "home")
    put_job(paths, "normal", accepted=3)
    base = train(paths, 0, None, {})
    put_head(paths, base)
    truth = contents(paths)
    copy = paths.model("tiny").ledger(base)
    copy.unlink()
    (paths.status / "ranking.json").write_text("{")
    left = paths.status / ".ranking.json.1.00000000.tmp"
    left.write_text("half")
    os.utime(left, (time.time() - LEFT_OVER_S - 5,) * 2)
    assert weaver(paths.home, "audit").returncode == 1
    told = weaver(paths.home, "audit", "--repair")
    assert told.returncode == 0, told.stdout
    assert "ledger copy of tiny/" in told.stderr
    assert "status/ranking.json" in told.stderr
    assert not left.exists()
    assert (paths.status / "data_lineage.json").exists()
    assert contents(paths) == truth
    assert repair(paths) == repair(paths), "it can be repeated"
