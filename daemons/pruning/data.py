"""The data of completed and rejected jobs: compressed a day after they ended, the oldest removed when there is too much.

Place in the flow: prune_checkpoints calls it each tick. Reads and shrinks queue/completed/ and queue/rejected/. Invariants:
records (job.json, plan.json, attempts, quarantine.jsonl) always stay, so that the account of every line stays whole; data that
a person dropped goes only when all of it together is over its bound, generated data, which its seed gives again, before it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from core.errors import CorruptRecord, InvalidData
from core.files import exclusive
from core.jobs.archive import COMPRESSED, DATA, compress
from core.jobs.job import Job
from core.jobs.spool import Spool
from core.records import read_if_there
from daemons.harness.context import Context

STATES = ("completed", "rejected")
COMPRESS_AFTER_S = 86_400.0
GENERATED_DATA_KEPT = 200
KEPT_BYTES = 20 * 10**9
_NAMES = (*DATA, *(name + COMPRESSED for name in DATA))


class OldData:
    """Shrinks the data of jobs that are done."""

    def __init__(self) -> None:
        self._generated: dict[str, bool] = {}  # only saves reading job.json again, which never changes
        self._refused: set[Path] = set()

    def tidy(self, ctx: Context, room: int) -> list[str]:
        """Compress and remove up to `room` things, oldest jobs first; give what was done."""
        spool = Spool(ctx.paths)
        jobs = [(ctx.paths.state(state) / job, job) for state in STATES for job in spool.list(state)]
        found = {folder: files for folder, _ in sorted(jobs, key=lambda pair: pair[1]) if (files := _files(folder))}
        self._generated = {folder.name: self._is_generated(folder) for folder in found}
        done = self._remove(found, max(0, room))
        return done + self._compress(ctx, found, max(0, room - len(done)))

    def _remove(self, found: dict[Path, dict[Path, int]], room: int) -> list[str]:
        """Remove generated data beyond the newest GENERATED_DATA_KEPT, then the oldest of what is over KEPT_BYTES."""
        generated = [folder for folder in found if self._generated[folder.name]]
        gone = generated[: max(0, len(generated) - GENERATED_DATA_KEPT)]
        over = sum(sum(files.values()) for folder, files in found.items() if folder not in gone) - KEPT_BYTES
        for folder in sorted(found, key=lambda folder: not self._generated[folder.name]):
            if over <= 0:
                break
            if folder not in gone:
                gone.append(folder)
                over -= sum(found[folder].values())
        done = []
        for folder in gone[:room]:
            files = found.pop(folder)
            try:
                with exclusive(folder):
                    for path in files:
                        path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # queued again meanwhile
            done.append(f"data of {folder.name}")
        return done

    def _compress(self, ctx: Context, found: dict[Path, dict[Path, int]], room: int) -> list[str]:
        """Compress what has lain for a day by the machine's own file times."""
        done: list[str] = []
        now_s = ctx.clock.now().timestamp()
        for path in (path for files in found.values() for path in files if path.suffix != COMPRESSED):
            if len(done) >= room:
                break
            try:
                if path in self._refused or now_s - path.parent.stat().st_mtime < COMPRESS_AFTER_S:
                    continue
                compress(path, partial(ctx.beat, f"compressing {path.parent.name}"))
            except FileNotFoundError:
                continue  # queued again meanwhile
            except CorruptRecord as error:
                ctx.log.error("%s", error)
                self._refused.add(path)
                continue
            done.append(f"{path.name} of {path.parent.name}, compressed")
        return done

    def _is_generated(self, folder: Path) -> bool:
        if folder.name in self._generated:
            return self._generated[folder.name]
        try:
            record = read_if_there(Job, folder / "job.json")
        except InvalidData:
            return False
        return record is not None and record.source == "generate_data" and record.generator is not None


def _files(folder: Path) -> dict[Path, int]:
    """Give the data files of a job and their sizes in bytes."""
    found = {}
    for name in _NAMES:
        path = folder / name
        try:
            if path.is_file() and not path.is_symlink():
                found[path] = path.stat().st_size
        except FileNotFoundError:
            continue
    return found
