"""A notice: something that a person wants to be told without looking.

Place in the flow: daemons/send_notices derives notices from the events and sends them: to a webhook as this record's JSON, to
apprise as title and body. Invariant: key names what it is about, so that the same thing is told once an hour.
"""

from __future__ import annotations

from typing import Literal

from core.records import Record

Kind = Literal[
    "finished", "failed", "rejected", "regression", "deployed", "rolled_back", "crash_loop", "parked", "disk_low",
    "config_refused", "broken",
]  # fmt: skip


class Notice(Record, frozen=True, tag="weaver.notice/1"):
    """What is sent. key: <kind>:<subject>; at: when it happened; suppressed: so many like it were not sent before this one."""

    kind: Kind
    key: str
    title: str
    body: str
    at: str
    host: str
    job: str | None = None
    checkpoint: str | None = None
    program: str | None = None
    suppressed: int = 0
