"""What waits to be sent, to whom, and what was told lately: one record, changed by pure functions of it and the time.

Place in the flow: send_notices keeps it in logs/notices.json, beside the events that it was made of. Invariants: the same key
is told once in HOUR_S, the rest is counted and told with the next; what waits is bounded by MOST_WAITING and DAY_S; a receiver
that fails is asked less and less often, and holds nobody else up; a clock that is set throws nothing away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from core.clock import from_iso, iso
from core.notices import Notice
from core.records import Part, Record
from daemons.notices.following import Cursor

HOUR_S, DAY_S = 3600.0, 86400.0
NOTED_S = 600.0
MOST_WAITING = 100
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 600.0


class Waiting(Part, frozen=True):
    """A notice and the receivers that have not got it; admitted_at: since when it waits."""

    notice: Notice
    to: tuple[str, ...]
    admitted_at: str


class Told(Part, frozen=True):
    """When a key was told last, and how often it was suppressed since."""

    at: str
    suppressed: int = 0


class Failing(Part, frozen=True):
    """A receiver that does not take notices: failures in a row, when it is asked again, what it said last."""

    failures: int
    retry_at: str
    error: str


class Outbox(Record, frozen=True, tag="weaver.notices/1"):
    """logs/notices.json. Receivers are named by receiver_id(): their URLs hold secrets and stay in the configuration.

    looked_at: a time at most NOTED_S before the last look, by which a jump of the clock is seen.
    """

    cursors: dict[str, Cursor]
    is_disk_low: bool = False
    waiting: tuple[Waiting, ...] = ()
    told: dict[str, Told] = {}
    failing: dict[str, Failing] = {}
    left_out: int = 0
    looked_at: str = ""


def receiver_id(url: str) -> str:
    """Name a receiver without its URL."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _age_s(at: str, now: datetime) -> float:
    """Give an age in seconds; of a time in the future (the clock was set back) it is endless."""
    age = (now - from_iso(at)).total_seconds()
    return age if age >= 0 else float("inf")


def since_last_look(outbox: Outbox, now: datetime) -> Outbox:
    """Move every time that is kept by as much as the clock jumped since the last look.

    So what waits is not thrown away because somebody sets the clock. Of a long absence, too, only HOUR_S counts.
    """
    if not (outbox.waiting or outbox.told or outbox.failing):
        return msgspec.structs.replace(outbox, looked_at="")
    passed = (now - from_iso(outbox.looked_at or iso(now))).total_seconds()
    if outbox.looked_at and 0.0 <= passed < NOTED_S:
        return outbox
    jump = timedelta(seconds=passed - min(HOUR_S, max(0.0, passed)))

    def moved(at: str) -> str:
        return iso(from_iso(at) + jump)

    return msgspec.structs.replace(
        outbox, looked_at=iso(now),
        waiting=tuple(msgspec.structs.replace(one, admitted_at=moved(one.admitted_at)) for one in outbox.waiting),
        told={key: msgspec.structs.replace(one, at=moved(one.at)) for key, one in outbox.told.items()},
        failing={name: msgspec.structs.replace(one, retry_at=moved(one.retry_at)) for name, one in outbox.failing.items()},
    )  # fmt: skip


def admit(outbox: Outbox, notice: Notice, receivers: Sequence[str], now: datetime) -> Outbox:
    """Put a notice in for all receivers, or count it if its key was told within the hour."""
    last = outbox.told.get(notice.key)
    if last is not None and _age_s(last.at, now) < HOUR_S:
        again = Told(at=last.at, suppressed=last.suppressed + 1)
        return msgspec.structs.replace(outbox, told={**outbox.told, notice.key: again})
    suppressed = last.suppressed if last else 0
    remarks = [f"{suppressed} more of this kind were not sent in the meantime."] if suppressed else []
    remarks += [f"{outbox.left_out} notices were left out: a receiver did not take them in time."] if outbox.left_out else []
    notice = msgspec.structs.replace(notice, suppressed=suppressed, body="\n".join([notice.body, *remarks]))
    waiting = (*outbox.waiting, Waiting(notice=notice, to=tuple(receivers), admitted_at=iso(now)))
    told = {**outbox.told, notice.key: Told(at=iso(now))}
    return msgspec.structs.replace(outbox, waiting=waiting, told=told, left_out=0, looked_at=outbox.looked_at or iso(now))


def tidy(outbox: Outbox, receivers: Sequence[str], now: datetime) -> Outbox:
    """Forget receivers that are configured no more, what waited too long, what is too much, and keys told long ago."""
    kept = [
        msgspec.structs.replace(one, to=left)
        for one in outbox.waiting
        if (left := tuple(name for name in one.to if name in receivers)) and _age_s(one.admitted_at, now) < DAY_S
    ]
    wanted = sum(any(name in receivers for name in one.to) for one in outbox.waiting)
    told = {key: one for key, one in outbox.told.items() if _age_s(one.at, now) < (DAY_S if one.suppressed else HOUR_S)}
    return msgspec.structs.replace(
        outbox, waiting=tuple(kept[-MOST_WAITING:]), told=told, left_out=outbox.left_out + wanted - len(kept[-MOST_WAITING:]),
        failing={name: one for name, one in outbox.failing.items() if name in receivers},
    )  # fmt: skip


def next_for(outbox: Outbox, receiver: str, now: datetime) -> Notice | None:
    """Give the oldest notice that waits for a receiver, if it may be asked now."""
    failing = outbox.failing.get(receiver)
    if failing is not None and -LONGEST_RETRY_S <= (now - from_iso(failing.retry_at)).total_seconds() < 0:
        return None
    return next((one.notice for one in outbox.waiting if receiver in one.to), None)


def delivered(outbox: Outbox, receiver: str, notice: Notice) -> Outbox:
    """Note that a receiver has got a notice."""
    waiting = [
        msgspec.structs.replace(one, to=tuple(name for name in one.to if name != receiver)) if one.notice == notice else one
        for one in outbox.waiting
    ]
    failing = {name: one for name, one in outbox.failing.items() if name != receiver}
    return msgspec.structs.replace(outbox, waiting=tuple(one for one in waiting if one.to), failing=failing)


def failed(outbox: Outbox, receiver: str, error: str, now: datetime) -> Outbox:
    """Note that a receiver did not take a notice; it is asked again after 5 s, 10 s, 20 s ... at most ten minutes."""
    failures = outbox.failing[receiver].failures + 1 if receiver in outbox.failing else 1
    wait_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 20))
    one = Failing(failures=failures, retry_at=iso(now + timedelta(seconds=wait_s)), error=error)
    return msgspec.structs.replace(outbox, failing={**outbox.failing, receiver: one})


def next_retry_s(outbox: Outbox, now: datetime) -> float | None:
    """Give the seconds until some failing receiver for which something waits may be asked again."""
    owed = {name for one in outbox.waiting for name in one.to}
    waits = [(from_iso(one.retry_at) - now).total_seconds() for name, one in outbox.failing.items() if name in owed]
    return max(0.0, min(waits)) if waits else None
