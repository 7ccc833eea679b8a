"""send_notices: tell people, by the URLs of notify.urls, what happened.

Place in the flow: reads logs/events/ of every program; whoever writes an event never waits for a receiver. Files written:
logs/notices.json, its own event disk_low. Invariants: what happened before its first start is not sent; deleting status/ sends
nothing again, and a kill costs one repeat to one receiver at most; a receiver that hangs or fails delays only its own notices;
no URL is logged but masked.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from datetime import datetime

import msgspec

from core.errors import DiskLow, InvalidData
from core.files import replace_durable
from core.http.webhook import post
from core.notices import Notice
from core.notify_urls import is_webhook, masked
from core.records import encode, encode_pretty, read_if_there
from daemons.harness.context import Context, Report
from daemons.notices.apprise_child import BODY, TITLE, URL
from daemons.notices.following import ends, read_news
from daemons.notices.meaning import notice_of
from daemons.notices.outbox import (
    Outbox,
    admit,
    delivered,
    failed,
    next_for,
    next_retry_s,
    receiver_id,
    since_last_look,
    tidy,
)

APPRISE_S, LOOK_S = 20.0, 0.2
LONGEST_TICK_S = 5.0
ENOUGH = 1.1  # times the floor: below it the disk is still low, so that one that hovers at the floor is told once
_FULL = (errno.ENOSPC, errno.EDQUOT)


class SendNotices:
    """logs/events/ -> notify.urls: tell people what happened, once an hour for each thing."""

    name = "send_notices"
    every = "10s"
    patience_s = 60.0
    wakes_on = ("logs/events",)
    nice = 10

    def __init__(self) -> None:
        self._sent: set[tuple[str, str, str]] = set()

    def tick(self, ctx: Context) -> Report:
        """Read what is new, then send what waits; a failing receiver is tried again later."""
        try:
            return self._tick(ctx)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            free, floor = shutil.disk_usage(ctx.paths.home).free, ctx.config.weaver.disk.floor_bytes
            raise DiskLow(free=free, path=ctx.paths.home, floor=floor) from error

    def _tick(self, ctx: Context) -> Report:
        outbox, is_more = self._read(ctx)
        receivers = {receiver_id(url): url for url in ctx.config.weaver.notify.urls}
        started, sent = ctx.clock.mono(), 0
        for receiver, url in receivers.items():
            while (notice := next_for(outbox, receiver, ctx.clock.now())) is not None:
                if ctx.stopping() or ctx.clock.mono() - started > LONGEST_TICK_S:
                    return Report(did=sent, note=f"{sent} sent, {len(outbox.waiting)} wait", again=True)
                outbox = self._send(ctx, outbox, notice, receiver, url)
                sent += receiver not in outbox.failing
        return _report(outbox, receivers, sent, is_more, ctx.clock.now())

    def _read(self, ctx: Context) -> tuple[Outbox, bool]:
        """Take the new events in and keep what they are worth, durably, before anything is sent."""
        before, folder = _kept(ctx), ctx.paths.logs / "events"
        outbox = before if before is not None else Outbox(cursors=ends(folder))
        receivers = [receiver_id(url) for url in ctx.config.weaver.notify.urls]
        outbox = _look_at_disk(ctx, outbox)
        events, cursors, is_more = read_news(folder, outbox.cursors)
        now = ctx.clock.now()
        outbox = since_last_look(msgspec.structs.replace(outbox, cursors=cursors), now)
        for event in events:
            notice = notice_of(event, ctx.paths, ctx.host) if receivers else None
            if notice is not None:
                outbox = admit(outbox, notice, receivers, now)
        outbox = tidy(outbox, receivers, now)
        if outbox != before:
            _keep(ctx, outbox)
        return outbox, is_more

    def _send(self, ctx: Context, outbox: Outbox, notice: Notice, receiver: str, url: str) -> Outbox:
        """Send one notice to one receiver and note, durably, what came of it."""
        mark = (receiver, notice.key, notice.at)
        error = "" if mark in self._sent else _deliver(ctx, notice, url)
        ctx.beat(f"told {masked(url)} {notice.key}" if not error else f"{masked(url)}: {error}")
        if error:
            ctx.log.warning("%s did not take %s: %s", masked(url), notice.key, error, extra={"event": "notice_failed"})
            outbox = failed(outbox, receiver, error, ctx.clock.now())
        else:
            ctx.log.info("told %s: %s", masked(url), notice.title, extra={"event": "notice", "job": notice.job})
            self._sent.add(mark)  # where it cannot be written down, at least this process sends it only once
            outbox = delivered(outbox, receiver, notice)
        _keep(ctx, outbox)
        self._sent.discard(mark)
        return outbox


def _kept(ctx: Context) -> Outbox | None:
    """Read what is kept; a damaged file is as none: begin with what happens from now on."""
    try:
        return read_if_there(Outbox, ctx.paths.notices)
    except InvalidData as error:
        ctx.log.error("%s: notices begin anew with what happens from now on", error)
        return None


def _keep(ctx: Context, outbox: Outbox) -> None:
    replace_durable(ctx.paths.notices, encode_pretty(outbox), mode=0o600)


def _look_at_disk(ctx: Context, outbox: Outbox) -> Outbox:
    """Write one event each time the free space falls below the floor."""
    free, floor = shutil.disk_usage(ctx.paths.home).free, ctx.config.weaver.disk.floor_bytes
    is_low = free < floor * (ENOUGH if outbox.is_disk_low else 1.0)
    if is_low and not outbox.is_disk_low:
        ctx.event("disk_low", free_bytes=free, floor_bytes=floor)
    return msgspec.structs.replace(outbox, is_disk_low=is_low)


def _deliver(ctx: Context, notice: Notice, url: str) -> str:
    """Send one notice; give why it was not taken, nothing when it was."""
    if is_webhook(url):
        return post(url, encode(notice))
    extra = {URL: url, TITLE: notice.title, BODY: notice.body}
    child = ctx.spawn("apprise", [sys.executable, "-m", "daemons.notices.apprise_child"], extra)
    deadline = ctx.clock.mono() + APPRISE_S
    while ctx.clock.mono() < deadline and not ctx.stopping():
        try:
            return "" if child.wait(LOOK_S) == 0 else "apprise did not deliver it: see logs/apprise.out"
        except subprocess.TimeoutExpired:
            continue
    child.kill()
    child.wait()
    return "stopped meanwhile" if ctx.stopping() else f"apprise did not end within {APPRISE_S:.0f} s"


def _report(outbox: Outbox, receivers: dict[str, str], sent: int, is_more: bool, now: datetime) -> Report:
    if not receivers:
        return Report(note="notify.urls is empty: nobody is told", again=is_more)
    troubles = [f"{masked(receivers[name])}: {one.error}" for name, one in outbox.failing.items()]
    note = "; ".join([f"{sent} sent, {len(outbox.waiting)} wait", *troubles])
    return Report(did=sent, note=note, again=is_more, next_s=next_retry_s(outbox, now))
