"""Very many files at once: each becomes one job, none is lost, and a watch_inbox that dies in between changes nothing."""

from __future__ import annotations

from pathlib import Path

from tests.faults.flood import flood

FILES = 600
"""benchmarks/faults.py drops 10,000, which takes minutes."""


def test_every_file_of_a_flood_becomes_one_job_over_several_lives(tmp_path: Path) -> None:
    assert flood(tmp_path, FILES) == []
