"""When the next regular tick is due: "10s", "10m", "2h", "1d", or a cron string of five fields (UTC).

Cron strings are computed by APScheduler's CronTrigger, imported only for them: the package pulls in asyncio (5 MB in every
light daemon), so a plain interval is plain arithmetic on the monotonic clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from core.errors import UsageError

_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NEVER_S = 366 * 86400.0


class Schedule:
    """The rhythm of one daemon. Raises UsageError for a text that is neither an interval nor a cron string."""

    def __init__(self, every: str) -> None:
        match = _INTERVAL.fullmatch(every)
        self._interval_s = float(match[1]) * _SECONDS[match[2]] if match else None
        self._cron: Any = None if match else _cron_trigger(every)
        if self._interval_s == 0.0:
            raise UsageError(detail=f"every={every!r}: an interval must be longer than 0.")

    def next_due(self, started: float, mono: float, now: datetime) -> float:
        """Give the monotonic time of the next tick, after one that was started at `started` and has just ended (mono, now)."""
        if self._interval_s is not None:
            return started + self._interval_s
        fires = self._cron.get_next_fire_time(None, now.astimezone(UTC))
        return mono + (_NEVER_S if fires is None else max(0.0, (fires - now).total_seconds()))


def _cron_trigger(every: str) -> Any:
    from apscheduler.triggers.cron import CronTrigger

    try:
        return CronTrigger.from_crontab(every, timezone=UTC)
    except ValueError as error:
        detail = f"every={every!r} is neither an interval (10s, 10m, 2h, 1d) nor a cron string: {error}"
        raise UsageError(detail=detail) from error
