"""What is on the disk for certain before a job is called queued (I3)."""

from __future__ import annotations

import os
from pathlib import Path

from core.files import Ops
from core.jobs.job import Job, Reason
from core.jobs.verdict import seal_job
from tests.core.home_files import job_record


class Flushed(Ops):
    """Notes what is flushed, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def fsync(self, path: Path) -> None:
        super().fsync(path)
        self.names.append(path.name)


def job(reason: Reason | None = None) -> Job:
    return job_record("20261120-213000000-0123abcd-drop", reason=reason)


def test_everything_that_training_or_people_read_of_a_job_is_flushed_its_folder_last(tmp_path: Path) -> None:
    for name in ("job.json", "sidecar.json", "data.jsonl", "quarantine.jsonl"):
        (tmp_path / name).write_text("{}\n")
    ops = Flushed()
    seal_job(tmp_path, job(), ops)
    assert sorted(ops.names[:-1]) == ["data.jsonl", "job.json", "quarantine.jsonl", "sidecar.json"]
    assert ops.names[-1] == tmp_path.name


def test_pipe_or_folder_in_the_place_of_a_sidecar_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sidecar.json")
    (tmp_path / "job.json").write_text("{}\n")
    ops = Flushed()
    seal_job(tmp_path, job(Reason(code="bad_sidecar", message="a pipe")), ops)
    assert ops.names == ["job.json", tmp_path.name]
