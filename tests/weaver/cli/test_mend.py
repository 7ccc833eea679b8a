"""weaver mend: what is safe is done, said before with --dry-run, and done once; what people and jobs own is never touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock, iso
from core.files import replace_quick
from core.hosts import Endpoint
from core.jobs.job import Claim
from core.jobs.pause import Pause
from core.jobs.spool import Spool
from core.keys import make_keys
from core.paths import Paths
from core.process import ProcessRef, is_alive
from core.records import encode_pretty
from core.status import State, read_supervisor_view
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.home_files import beat, dead_process, make_home, program, put_job, supervise
from tests.fakes import switch_on, wait_for
from tests.weaver.cli.command import command, weaver
from tests.weaver.cli.test_doctor import listing
from weaver.adoption import weaver_process

LONG_AGO_S = 3600.0


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    home = make_home(tmp_path / "home")
    make_keys(home)
    home.local.chmod(0o700)
    return home


def mend(paths: Paths, *arguments: str) -> list[dict[str, Any]]:
    """Run `weaver mend --json` and give what it did."""
    done = weaver(paths.home, "mend", "--json", *arguments)
    found = json.loads(done.stdout)
    assert (found["schema"], found["ok"], done.returncode) == ("weaver.mend/1", True, 0), done.stdout + done.stderr
    assert found["dry_run"] == ("--dry-run" in arguments)
    return [dict(action) for action in found["actions"]]


def age(path: Path) -> None:
    long_ago = time.time() - LONG_AGO_S
    os.utime(path, (long_ago, long_ago))


def break_everything(paths: Paths) -> tuple[str, str]:
    """Leave a home as a power cut and careless hands might, Weaver down; give the stale job and the drop half validated."""
    make_checkpoint(paths, 0, None)
    paths.state("low").rmdir()
    (paths.logs / "events").rmdir()
    (paths.tokens / "web").chmod(0o644)
    for folder in (paths.model("tiny").staging / "checkpoint-9-x", paths.model("tiny").trash / "old.1.abc"):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
        age(folder)
    temporary = paths.inbox / ".drop.jsonl.4242.0123abcd.tmp"
    temporary.write_bytes(b"half")
    age(temporary)
    half_validated = paths.building / "20261120-213005123-9f2c01ab-drop"
    half_validated.mkdir()
    (half_validated / "raw").write_bytes(b'{"prompt": "a", "completion": "b"}\n')
    age(half_validated)
    job = put_job(paths, "normal")
    dead = dead_process()
    Spool(paths).claim(job, claim_of(job, dead))
    supervise(paths, [program("web")], process=dead, stopping=True)
    for name in ("weaver", "web"):
        beat(paths, name, process=dead)
    endpoint = Endpoint(service="web", host="local", address="127.0.0.1", port=8888, pid=dead.pid)
    replace_quick(paths.status / "endpoints" / "web.json", encode_pretty(endpoint))
    return job, half_validated.name


def claim_of(job: str, process: ProcessRef) -> Claim:
    return Claim(
        job=job,
        owner="train_next",
        at=iso(SystemClock().now()),
        pid=process.pid,
        start_ticks=process.start_ticks,
        boot_id=process.boot_id,
    )


def test_dry_run_names_everything_and_changes_nothing_then_it_is_done_once(paths: Paths) -> None:
    job, half_validated = break_everything(paths)
    before = listing(paths.home)
    planned = mend(paths, "--dry-run")
    assert listing(paths.home) == before
    whats = [action["what"] for action in planned]
    for what in (
        "make queue/low", "make logs/events", "make config/local/tokens/web readable by its owner alone",
        "remove models/tiny/.trash/old.1.abc", "remove models/tiny/.staging/checkpoint-9-x",
        "remove queue/inbox/.drop.jsonl.4242.0123abcd.tmp", "remove status/endpoints/web.json", "remove status/procs/web.json",
        "remove status/procs/weaver.json", f"give {job} back to the queue",
    ):  # fmt: skip
        assert what in whats, whats
    assert len(whats) == 10 and all(action["why"] for action in planned)
    assert mend(paths) == planned
    assert paths.state("low").is_dir() and (paths.tokens / "web").stat().st_mode & 0o777 == 0o600
    assert Spool(paths).list("normal") == [job] and Spool(paths).read_attempts(job)[-1].by == "mend"
    assert not list(paths.model("tiny").staging.iterdir()) and not list(paths.model("tiny").trash.iterdir())
    assert (paths.building / half_validated / "raw").read_bytes()
    after = listing(paths.home)
    assert mend(paths) == [] and listing(paths.home) == after


def test_well_home_needs_nothing_and_people_are_told(paths: Paths) -> None:
    before = listing(paths.home)
    done = weaver(paths.home, "mend")
    assert (done.returncode, done.stdout) == (0, "") and "Nothing to mend" in done.stderr
    assert listing(paths.home) == before


def test_people_see_what_and_why(paths: Paths) -> None:
    (paths.tokens / "web").chmod(0o644)
    done = weaver(paths.home, "mend", "--dry-run")
    assert done.stdout == "make config/local/tokens/web readable by its owner alone: others can read it (mode 0644)\n"
    assert done.stderr == "1 to do; nothing was changed.\n"


def test_fresh_things_of_living_owners_stay(paths: Paths) -> None:
    make_checkpoint(paths, 0, None)
    supervise(paths, [], process=dead_process(), stopping=True)
    staged = paths.model("tiny").staging / "checkpoint-9-x"
    staged.mkdir(parents=True)
    (paths.inbox / ".drop.jsonl.4242.0123abcd.tmp").write_bytes(b"half")
    assert mend(paths) == []
    age(staged)
    beat(paths, "trainer")
    assert mend(paths) == []


def test_claims_stay_while_paused_or_while_somebody_works_on_them(paths: Paths) -> None:
    job = put_job(paths, "normal")
    Spool(paths).claim(job, claim_of(job, dead_process()))
    supervise(paths, [], process=dead_process(), stopping=True)
    beat(paths, "train_next")
    assert mend(paths) == []
    beat(paths, "train_next", exit_code=0, process=dead_process())
    paths.paused.write_bytes(encode_pretty(Pause(verb="pause", by="ann", at=iso(SystemClock().now()))))
    assert mend(paths) == []
    paths.paused.unlink()
    assert [action["what"] for action in mend(paths)] == [f"give {job} back to the queue"]


def test_home_that_was_asked_to_stop_stays_down_and_one_that_died_comes_up_again(running_home: Paths) -> None:
    switch_on(running_home, "reclaim_stale")
    assert subprocess.run(command("up"), timeout=120, capture_output=True, check=False).returncode == 0
    assert subprocess.run(command("down"), timeout=120, capture_output=True, check=False).returncode == 0
    down = mend(running_home)
    assert all("start the Weaver" not in action["what"] for action in down)
    assert subprocess.run(command("up"), timeout=120, capture_output=True, check=False).returncode == 0
    first = weaver_process(running_home)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_for("its end", lambda: not is_alive(first), 20)
    planned = mend(running_home, "--dry-run")
    assert planned[-1]["why"] == "it died without being asked to stop" and weaver_process(running_home) is None
    mend_now(running_home)
    second = weaver_process(running_home)
    assert second is not None and second != first
    assert mend_now(running_home) == []


def mend_now(paths: Paths) -> list[dict[str, Any]]:
    """Run `weaver mend --json` with the environment of this test, which the programs that it starts inherit."""
    done = subprocess.run(command("mend", "--json"), capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    actions: list[dict[str, Any]] = json.loads(done.stdout)["actions"]
    return actions


def test_key_that_parked_the_web_is_taken_back_and_the_web_runs(running_home: Paths) -> None:
    make_keys(running_home)
    (running_home.tokens / "web").chmod(0o644)
    switch_on(running_home, "web")
    assert subprocess.run(command("up"), timeout=120, capture_output=True, check=False).returncode == 4
    view = read_supervisor_view(running_home)
    assert view is not None and view.programs[0].state is State.PARKED
    whats = [action["what"] for action in mend_now(running_home)]
    assert whats == ["make config/local/tokens/web readable by its owner alone", "restart web"]
    view = read_supervisor_view(running_home)
    assert view is not None and view.programs[0].state is State.RUNNING
    assert mend_now(running_home) == []


def test_step_that_cannot_be_taken_is_said_and_the_others_are(paths: Paths) -> None:
    paths.state("high").rmdir()
    paths.state("low").rmdir()
    (paths.logs / "events").rmdir()
    paths.logs.rmdir()
    paths.logs.write_text("")  # a file where logs/ should be
    done = weaver(paths.home, "mend", "--json")
    found = json.loads(done.stdout)
    errors = {action["what"]: action["error"] for action in found["actions"]}
    assert done.returncode == 1 and found["ok"] is False
    assert errors["make queue/high"] is None and "logs" in errors["make logs/events"]
    assert paths.state("low").is_dir()
