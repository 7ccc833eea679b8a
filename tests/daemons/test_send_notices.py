"""send_notices against real receivers: what people are told, once, whatever the receiver and the machine do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from core.config import DiskConfig, NotifyConfig, WeaverConfig
from core.jobs.job import Reason
from core.log import write_event
from core.process import spawn
from daemons.harness.context import Context, Report
from daemons.notices.apprise_child import without_secrets
from daemons.send_notices import SendNotices
from tests.core.home_files import put_job
from tests.daemons.home_builder import TestHome
from tests.fakes import ROOT, home_environment, wait_for
from tests.receiver import Receiver, receiving

SECRET = "T0KEN-abcdef"


class Home(TestHome):
    """A home whose daemon writes real events, and starts real children."""

    def notify(self, *urls: str, floor_gb: float = 0.0) -> None:
        self.configure(weaver=WeaverConfig(notify=NotifyConfig(urls=urls), disk=DiskConfig(floor_gb=floor_gb)))

    def tick(self) -> Report:
        return SendNotices().tick(self.real())

    def real(self) -> Context:
        event = partial(write_event, self.paths, "send_notices")
        return replace(self.context("send_notices"), event=event, spawn=self._spawn)

    def _spawn(self, program: str, argv: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        environ = {**home_environment(self.paths), **extra}
        return spawn(argv, program, self.paths.home_id, self.paths.logs / f"{program}.out", environ, ROOT)

    def happen(self, program: str, event: str, **facts: object) -> None:
        write_event(self.paths, program, event, **facts)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.tick()  # its first start
    return made


def url(receiver: Receiver) -> str:
    return f"http://{receiver.address}/{SECRET}"


def test_event_becomes_one_notice_for_every_receiver(home: Home) -> None:
    with receiving() as one, receiving() as two:
        home.notify(url(one), url(two))
        home.happen("weaver", "fatal", name="web", reason="crash loop: 5 short lives", last_exit=1)
        assert home.tick().did == 2
        assert home.tick().did == 0
        assert one.bodies == two.bodies and len(one.bodies) == 1
    body = one.bodies[0]
    assert (body["schema"], body["kind"], body["program"], body["host"]) == ("weaver.notice/1", "crash_loop", "web", "local")
    assert "5 short lives" in body["body"] and "weaver restart web" in body["body"]


def test_what_people_need_to_know_is_told_and_daily_work_is_not(home: Home) -> None:
    mine = put_job(home.paths, "completed", "mine", number=1)
    failed = put_job(home.paths, "failed", "broken", number=2)
    retried = put_job(home.paths, "normal", "retried", number=3)
    refused = put_job(home.paths, "rejected", "bad", number=4, reason=Reason(code="not_json", message="no JSON"))
    made = put_job(home.paths, "completed", "made", number=5)
    for job, source in ((mine, "person"), (refused, "person"), (made, "generate_data")):
        path = home.paths.state("rejected" if job == refused else "completed") / job / "job.json"
        path.write_text(path.read_text().replace('"source": "people"', f'"source": "{source}"'))
    with receiving() as receiver:
        home.notify(url(receiver))
        for job in (mine, made):
            home.happen("train_next", "completed", job=job, step=7)
        for job in (failed, retried):
            home.happen("train_next", "failed", job=job, why="out of luck")
        home.happen("watch_inbox", "rejected", job=refused, name="bad.jsonl", code="not_json", reason="no JSON")
        home.happen("watch_inbox", "queued", job=mine)
        home.happen("deploy_best", "refused", checkpoint="tiny/c2", reason="not better: p 0.4")
        home.happen("deploy_best", "refused", checkpoint="tiny/c3", reason="blocked: 12 points lost on binary-1@1")
        home.happen("deploy_best", "deployed", checkpoint="tiny/c4", reason="better on 9 of 60")
        home.happen("weaver", "config_refused", where="config/weaver.yaml:3", reason="unknown key quue", in_force_at="t")
        home.happen("weaver", "config_good", where=None)
        home.happen("train_next", "reset", model="tiny", checkpoint="c5", taken_back=["c6"], reason="reset by ann: harmful")
        broken = "reset by trainer: c8 is broken: a hash differs"
        home.happen("train_next", "reset", model="tiny", checkpoint="c7", taken_back=["c9", "c8"], reason=broken)
        home.tick()
    told = {body["key"]: body for body in receiver.bodies}
    assert set(told) == {
        "finished:mine.jsonl", "failed:broken.jsonl", "rejected:bad.jsonl", "regression:tiny", "deployed:tiny",
        "config_refused:config/weaver.yaml", "broken:tiny",
    }  # fmt: skip
    assert told["finished:mine.jsonl"]["job"] == mine and "step 7" in told["finished:mine.jsonl"]["body"]
    assert "out of luck" in told["failed:broken.jsonl"]["body"] and "12 points" in told["regression:tiny"]["body"]
    assert told["deployed:tiny"]["checkpoint"] == "tiny/c4"
    assert "went back to tiny/c7" in told["broken:tiny"]["title"]
    assert told["broken:tiny"]["body"].startswith("c8 is broken: a hash differs\nTaken back: 2 checkpoints.")


def test_what_happened_before_the_first_start_or_without_receivers_is_not_sent(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.happen("weaver", "fatal", name="old", reason="")
    with receiving() as receiver:
        home.notify(url(receiver))
        home.tick()
        home.notify()
        home.happen("weaver", "fatal", name="unheard", reason="")
        assert "nobody is told" in home.tick().note
        home.notify(url(receiver))
        home.happen("weaver", "fatal", name="new", reason="")
        home.tick()
    assert [body["program"] for body in receiver.bodies] == ["new"]


def test_same_thing_is_told_once_an_hour_also_after_status_was_deleted(home: Home) -> None:
    with receiving() as receiver:
        home.notify(url(receiver))
        for minutes in (0, 20, 50):
            home.clock.passed_s = 60.0 * minutes
            home.happen("weaver", "parked", name="web", reason="the port is taken")
            home.tick()
            for path in home.paths.status.rglob("*.json"):
                path.unlink()
        assert len(receiver.bodies) == 1
        home.clock.passed_s = 60.0 * 61
        home.happen("weaver", "parked", name="web", reason="the port is taken")
        home.tick()
    assert [body["suppressed"] for body in receiver.bodies] == [0, 2]


def test_refused_notice_is_sent_later_and_its_secret_is_nowhere(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    with receiving(500) as receiver:
        home.notify(url(receiver))
        home.happen("weaver", "fatal", name="web", reason="")
        report = home.tick()
        assert "it answered 500" in report.note and report.next_s == 5.0
        receiver.status = 200
        assert home.tick().did == 0, "not before its time"
        home.clock.passed_s = 5.0
        assert home.tick().did == 1
        assert len(receiver.bodies) == 1
    kept = home.paths.notices.read_text()
    assert SECRET not in kept + caplog.text + report.note + "".join(home.beats)
    assert home.paths.notices.stat().st_mode & 0o777 == 0o600


def test_hanging_receiver_delays_neither_the_other_nor_more_than_its_time_out(home: Home) -> None:
    with receiving(None) as deaf, receiving() as other:
        home.notify(url(deaf), url(other))
        for name in ("a", "b", "c"):
            home.happen("weaver", "fatal", name=name, reason="")
        home.tick()
        home.tick()
    assert [body["program"] for body in other.bodies] == ["a", "b", "c"]
    assert len(json.loads(home.paths.notices.read_text())["waiting"]) == 3


def test_disk_below_the_floor_is_told_once_per_crossing(home: Home) -> None:
    with receiving() as receiver:
        home.notify(url(receiver), floor_gb=1e9)
        for _ in range(3):
            home.tick()
        home.notify(url(receiver))
        home.clock.passed_s = 4000.0
        home.tick()
        home.notify(url(receiver), floor_gb=1e9)
        home.tick()
    assert [body["kind"] for body in receiver.bodies] == ["disk_low", "disk_low"]
    events = (home.paths.logs / "events" / "send_notices.jsonl").read_text().splitlines()
    assert len(events) == 2, "one event per crossing, whatever is suppressed later"


def test_apprise_delivers_what_is_no_plain_webhook(home: Home) -> None:
    with receiving() as receiver:
        home.notify(f"json://anna:{SECRET}@{receiver.address}/hook")
        home.happen("weaver", "fatal", name="web", reason="crash loop")
        assert home.tick().did == 1
    assert receiver.bodies[0]["title"] == "Crash loop: web was given up" and "crash loop" in receiver.bodies[0]["message"]


def test_what_apprise_cannot_deliver_is_said_without_its_secrets(home: Home) -> None:
    with receiving(500) as receiver:
        home.notify(f"json://anna:{SECRET}@{receiver.address}/hook-{SECRET}")
        home.happen("weaver", "fatal", name="web", reason="")
        assert "json://...: apprise did not deliver it: see logs/apprise.out" in home.tick().note
    said = (home.paths.logs / "apprise.out").read_text()
    assert "500" in said and SECRET not in said


def test_secrets_of_a_url_are_taken_out_of_any_text() -> None:
    text = "POST json://anna:pa55word@host/tok/en-12345?key=abcdef failed: tok en-12345 pa55word"
    assert without_secrets(text, "json://anna:pa55word@host/tok/en-12345?key=abcdef") == "POST ... failed: tok ... ..."


def test_killed_daemon_sends_no_more_than_one_again(home: Home) -> None:
    """The daemon runs for real and is killed while the receiver holds its first answer back."""
    with receiving(None) as receiver:
        environ = {
            **home_environment(home.paths), "WEAVER__NOTIFY__URLS": json.dumps([url(receiver)]), "WEAVER__DISK__FLOOR_GB": "0",
        }  # fmt: skip
        (home.paths.config / "hosts.json").write_text((ROOT / "config" / "hosts.json").read_text())
        for name in "abcde":
            home.happen("weaver", "fatal", name=name, reason="")
        argv = [sys.executable, "-m", "daemons", "send_notices"]
        with subprocess.Popen(argv, env=environ, cwd=ROOT) as daemon:
            assert receiver.asked.wait(60.0)
            os.kill(daemon.pid, signal.SIGKILL)
        receiver.status = 200
        with subprocess.Popen(argv, env=environ, cwd=ROOT) as daemon:
            wait_for("all notices", lambda: len(receiver.bodies) >= 5, 60.0)
            daemon.terminate()
            assert daemon.wait(60.0) == 0
        assert [body["program"] for body in receiver.bodies] == list("abcde")


def test_nothing_is_sent_that_cannot_be_written_down(home: Home) -> None:
    with receiving() as receiver:
        home.notify(url(receiver))
        home.happen("weaver", "fatal", name="a", reason="")
        home.paths.notices.unlink()
        home.paths.notices.mkdir()
        with pytest.raises(OSError):
            home.tick()
        assert receiver.bodies == []
