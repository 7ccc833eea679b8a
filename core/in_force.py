"""The configuration in force: the files under config/ where all of them are good, else the last set that was.

Place in the flow: every program takes its configuration and its hosts from here, when it starts and while it runs; the Weaver
keeps the good files. Files read: config/, models/<model>/model.json; written: config/local/in_force.json (mode 0600, durable,
by the Weaver alone). Invariants: what is in force is one whole set, never a mixture of old and new files; a bad file never
takes the place of a good one, and is said; keys and tokens are no part of the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from core.clock import SystemClock, iso
from core.config import Config, SkillConfig
from core.config_files import HOSTS, Fault, Source, compose, fingerprint, read_files, refusal_of
from core.config_shapes import Flaw, flaws
from core.errors import InvalidConfig, InvalidData
from core.files import replace_durable
from core.hosts import FILE, Hosts, compose_hosts, this_host
from core.locked import locked_flaws
from core.notify_urls import url_flaws
from core.paths import Paths
from core.records import Record, encode_pretty, read_if_there
from core.skills.registry import check
from core.status import ConfigStatus

LOOK_S = 2.0


class KeptFiles(Record, frozen=True, tag="weaver.in-force/1"):
    """config/local/in_force.json: the texts of the last good files by their names under config/, and since when they stood."""

    at: str
    files: dict[str, str]


@dataclass(frozen=True)
class InForce:
    """A whole good set. here: which host this is; at: since when; refusal: what is wrong with newer files, None if nothing."""

    config: Config
    hosts: Hosts
    here: str
    at: str
    files: Mapping[str, str]
    sources: Sequence[Source]
    refusal: InvalidConfig | None = None
    refused_since: str | None = None

    @property
    def problem(self) -> str:
        """Say what is refused, since when, and what is in force instead; nothing when all is well."""
        if self.refusal is None:
            return ""
        since, at = (f"{(time or '')[:19]}Z" for time in (self.refused_since, self.at))  # seconds are enough for people
        return f"{self.refusal}. Refused since {since}; in force: the files of {at}"

    def status(self) -> ConfigStatus:
        """Give what status shows of it."""
        path = None if self.refusal is None else str(self.refusal.facts["path"])
        detail = None if self.refusal is None else str(self.refusal.facts["detail"])
        return ConfigStatus(
            state="refused" if self.refusal else "good",
            in_force_at=self.at,
            where=path,
            reason=detail,
            since=self.refused_since,
        )


def examine(
    paths: Paths, files: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[InForce | None, list[Source], list[Fault]]:
    """Judge one set of files with the variables over it: the set when all is good, else every fault."""
    config, sources, faults = compose(files, environ)
    hosts, found = compose_hosts(files.get(HOSTS))
    faults = [*faults, *found]
    faults += list(_skill_faults(sources))
    here, named = "", environ.get("WEAVER_HOST")
    if hosts is not None:
        try:
            here = this_host(hosts, environ)
        except InvalidConfig as error:
            detail = str(error.facts["detail"])
            faults.append(Fault(file=FILE, detail=detail) if named is None else Fault(variable="WEAVER_HOST", detail=detail))
    if config is not None:
        weaver = next(source for source in sources if source.name == ("weaver",))
        faults += [weaver.fault(flaw) for flaw in locked_flaws(paths, config.weaver.models)]
        faults += [weaver.fault(flaw) for flaw in url_flaws(config.weaver.notify.urls)]
    if config is None or hosts is None or faults:
        return None, sources, faults
    return InForce(config, hosts, here, _changed_at(paths, files), dict(files), sources), sources, []


def _skill_faults(sources: Sequence[Source]) -> Iterator[Fault]:
    for source in sources:
        if source.kind is SkillConfig and not any(flaws(SkillConfig, source.values)):
            for key, detail, valid in check(source.name[1], msgspec.convert(source.values, SkillConfig)):
                yield source.fault(Flaw(key, detail, valid))


def _changed_at(paths: Paths, names: Mapping[str, str]) -> str:
    """Say when the newest of some files changed last."""
    times = [0.0]
    for name in names:
        try:
            times.append((paths.config / name).stat().st_ctime)
        except OSError:
            continue
    return iso(datetime.fromtimestamp(max(times), UTC))


def _since(paths: Paths, fault: Fault) -> str:
    """Say since when a file is as it is; of one that is gone, since when something is gone from its folder."""
    path = paths.home / (fault.file or "config")
    try:
        return iso(datetime.fromtimestamp((path if path.exists() else path.parent).stat().st_ctime, UTC))
    except OSError:
        return iso(SystemClock().now())


def judge(paths: Paths, environ: Mapping[str, str]) -> tuple[InForce | None, list[Source], list[Fault]]:
    """Judge the files under config/ as they are now: the set when all is good, else everything that is wrong."""
    files, faults = read_files(paths)
    unreadable = {fault.file for fault in faults}
    good, sources, found = examine(paths, files, environ)
    faults += [fault for fault in found if fault.file not in unreadable]  # what cannot be read is not missing as well
    return (None if faults else good), sources, faults


def read_in_force(paths: Paths, environ: Mapping[str, str]) -> InForce:
    """Give what is in force now: the files as they are, else the last good ones. Raises InvalidConfig when there are none."""
    good, _, faults = judge(paths, environ)
    if good is not None:
        return good
    last = _last_good(paths, environ)
    if last is None:
        raise refusal_of(faults)
    return replace(last, refusal=refusal_of(faults), refused_since=_since(paths, faults[0]))


def _last_good(paths: Paths, environ: Mapping[str, str]) -> InForce | None:
    kept = _read_kept(paths)
    last, _, _ = examine(paths, kept.files, environ) if kept else (None, [], [])
    return replace(last, at=kept.at) if kept and last else None


def _read_kept(paths: Paths) -> KeptFiles | None:
    try:
        return read_if_there(KeptFiles, paths.in_force)
    except InvalidData:
        return None  # damaged, or of a newer version: as if there were none


def keep(paths: Paths, good: InForce) -> None:
    """Keep a good set as the last one. Only the Weaver does."""
    if good.refusal is None:
        kept = _read_kept(paths)
        if kept is None or kept.files != good.files:
            replace_durable(paths.in_force, encode_pretty(KeptFiles(at=good.at, files=dict(good.files))), mode=0o600)


class Following:
    """What is in force for one program, as long as it runs."""

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self._paths, self._environ = paths, environ
        self._mark = self._seen = fingerprint(paths)
        self._looked = float("-inf")
        self.now = read_in_force(paths, environ)

    def look(self, mono: float, at_once: bool = False) -> bool:
        """Look at config/ at most every LOOK_S; say whether another set is in force.

        A change counts once it has stood still from one look to the next: nobody reads a file that is being written. at_once:
        look now and take what is there, as a program that starts does.
        """
        if mono - self._looked < LOOK_S and not at_once:
            return False
        self._looked = mono
        try:
            seen, self._seen = self._seen, fingerprint(self._paths)
        except FileNotFoundError:
            return False  # an editor is replacing a file at this moment
        if self._seen == self._mark or (self._seen != seen and not at_once):
            return False
        self._mark = self._seen
        good, _, faults = judge(self._paths, self._environ)
        if good is not None:
            self.now = good
            return True
        last = _last_good(self._paths, self._environ) or self.now  # the Weaver's: so all programs have the same
        is_new = last.files != self.now.files
        since = _since(self._paths, faults[0])
        self.now = replace(last if is_new else self.now, refusal=refusal_of(faults), refused_since=since)
        return is_new
