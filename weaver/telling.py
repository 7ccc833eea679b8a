"""What the Weaver tells people: events in logs/events/weaver.jsonl, and alarms, which are in its log as well.

Place in the flow: the supervisor tells what it has done, after it was done. Invariant: an event that cannot be written (a full
disk) is in the log instead, and holds up nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from core.log import write_event
from core.paths import Paths
from core.status import ConfigStatus
from weaver.adoption import WEAVER
from weaver.observed import Track


class Teller:
    """The way to people of one Weaver."""

    def __init__(self, paths: Paths, log: logging.Logger) -> None:
        self._paths, self._log = paths, log

    def event(self, event: str, **facts: Any) -> None:
        """Write an event down."""
        try:
            write_event(self._paths, WEAVER, event, **facts)
        except OSError as error:
            of = f" of {facts['name']}" if "name" in facts else ""
            self._log.error("the event %s%s could not be written: %s", event, of, error)

    def given_up(self, track: Track) -> None:
        """Raise the alarm about a program that stays down."""
        self._log.critical(
            "%s is %s: %s. It stays down until `weaver restart %s` or a change under config/",
            track.name, track.state, track.reason, track.name, extra={"event": track.state.lower()},
        )  # fmt: skip
        self.event(track.state.lower(), name=track.name, reason=track.reason, last_exit=track.last_exit)

    def config(self, problem: str, status: ConfigStatus | None) -> None:
        """Say what is wrong with the files under config/, or that all is well again."""
        self._log.error(problem or "the files under config/ are good again")
        if status is not None:
            facts = {"where": status.where, "reason": status.reason, "in_force_at": status.in_force_at}
            self.event(f"config_{status.state}", **facts)
