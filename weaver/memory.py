"""What a Weaver must not forget when it is killed or upgraded: deaths, back-off, and what was given up (FATAL, PARKED).

Place in the flow: the supervisor recalls it at its start and keeps it after every step that changed it. File: config/local/
supervision.json, beside what a person switched off, because status/ may be deleted at any moment. Invariant: what was given up
stays given up until somebody asks: `weaver restart NAME`, a change under config/ (also one made while no Weaver lived), or an
orderly `weaver down`, after which everything begins anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace

from core.clock import boot_id
from core.errors import InvalidData
from core.files import replace_durable
from core.paths import Paths
from core.records import Part, Record, encode_pretty, read_if_there
from core.status import State
from weaver.observed import Track

RETRY_S = 10.0
GIVEN_UP = (State.FATAL, State.PARKED)


class ProgramMemory(Part, frozen=True):
    """One program's past. state: FATAL, PARKED, BACKOFF or STOPPED; retry_mono: the end of BACKOFF, on the clock of boot_id."""

    name: str
    state: State
    reason: str
    deaths: int
    short_lives: int
    retry_mono: float
    starts: int
    last_exit: int | None


class SupervisionRecord(Record, frozen=True, tag="weaver.supervision/1"):
    """config/local/supervision.json. config_mark: of the files under config/ that were in force then."""

    boot_id: str
    config_mark: str
    programs: tuple[ProgramMemory, ...] = ()


class Memory:
    """The file, and what was written into it last."""

    def __init__(self, paths: Paths, log: logging.Logger) -> None:
        self._path, self._log = paths.supervision, log
        self._kept: SupervisionRecord | None = None
        self._retry = float("-inf")

    def recall(self, config_mark: str) -> dict[str, Track]:
        """Give the tracks of programs with a past; a file that cannot be read is said aloud and taken for no past."""
        try:
            record = read_if_there(SupervisionRecord, self._path)
        except InvalidData as error:
            self._log.error("the past of the programs is lost, all begin anew: %s", error)
            return {}
        if record is None:
            return {}
        is_same_boot, is_same_config = record.boot_id == boot_id(), record.config_mark == _digest(config_mark)
        return {item.name: _recalled(item, is_same_boot, is_same_config) for item in record.programs}

    def keep(self, tracks: Mapping[str, Track], config_mark: str, now: float) -> None:
        """Write what changed. Where the disk does not allow it, say so and try again in RETRY_S; now in monotonic seconds."""
        past = tuple(_kept(tracks[name]) for name in sorted(tracks) if tracks[name].starts or tracks[name].state in GIVEN_UP)
        record = SupervisionRecord(boot_id=boot_id(), config_mark=_digest(config_mark), programs=past)
        if record == self._kept or now < self._retry:
            return
        try:
            replace_durable(self._path, encode_pretty(record))
            self._kept = record
        except OSError as error:
            self._log.error("the past of the programs could not be written down: %s", error)
            self._retry = now + RETRY_S

    def forget(self) -> None:
        """Let everything begin anew: it was stopped in an orderly way."""
        self._kept = None
        self._path.unlink(missing_ok=True)


def _digest(mark: str) -> str:
    return hashlib.sha256(mark.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _kept(track: Track) -> ProgramMemory:
    is_down = track.state in (*GIVEN_UP, State.BACKOFF)
    return ProgramMemory(
        name=track.name, state=track.state if is_down else State.STOPPED, reason=track.reason if is_down else "",
        deaths=track.deaths, short_lives=track.short_lives, retry_mono=track.retry if is_down else 0.0, starts=track.starts,
        last_exit=track.last_exit,
    )  # fmt: skip


def _recalled(item: ProgramMemory, is_same_boot: bool, is_same_config: bool) -> Track:
    """Give the track of a program's past: after a reboot no wait is left; a new configuration frees what was given up."""
    track = Track(
        item.name, state=item.state, reason=item.reason, deaths=item.deaths, short_lives=item.short_lives,
        retry=item.retry_mono if is_same_boot else 0.0, starts=item.starts, last_exit=item.last_exit,
    )  # fmt: skip
    if item.state in GIVEN_UP and not is_same_config:
        return replace(track, state=State.STOPPED, deaths=0, short_lives=0, reason="")
    return track
