"""A machine that gives no more: no descriptors, no processes, a full disk, a disk that may not be written.

Namespaces of an ordinary user are needed for the disks; where the machine allows none, those tests are skipped with the reason.
"""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from core.accounting.audit import audit
from core.jobs.spool import Spool
from core.paths import Paths
from core.status import read_heartbeat
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.fakes import home_environment, switch_on, wait_for
from weaver.drill.drops import chat_lines

WHY_NOT = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True)
needs_namespace = pytest.mark.skipif(
    WHY_NOT.returncode != 0, reason=f"no user namespace on this machine: {WHY_NOT.stderr.strip()}"
)


def once(daemon: str) -> str:
    """Give the command that ticks a daemon once."""
    return f"{shlex.quote(sys.executable)} -m daemons {daemon} --once"


def in_namespace(paths: Paths, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of shell in namespaces of its own, in which it may mount."""
    return subprocess.run(
        ["unshare", "-Urm", "bash", "-euc", script], env=home_environment(paths), cwd=paths.home, capture_output=True, text=True
    )


def beats_with(paths: Paths, descriptors: int) -> str | None:
    """Run a daemon that may open only so many files; give the note of its fifth beat, None when it could not even start."""
    child = subprocess.Popen(
        [sys.executable, "-m", "daemons", "reclaim_stale"], env=home_environment(paths), cwd=paths.home,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
    )  # fmt: skip

    def note() -> str | None:
        beat = read_heartbeat(paths, "reclaim_stale")
        is_it = beat is not None and beat.pid == child.pid and beat.seq >= 5
        return beat.note if beat is not None and is_it else "" if child.poll() is not None else None

    try:
        wait_for("five beats or an end", lambda: note() is not None, 60.0)
        return note() or None
    finally:
        child.terminate()
        child.wait(60.0)


def test_daemon_without_descriptors_for_inotify_looks_at_its_folders_and_says_so(paths: Paths) -> None:
    """About 15 s: how few descriptors are too few for the observer, and enough for the daemon, is found by trying."""
    notes = (beats_with(paths, descriptors) for descriptors in range(7, 16))
    assert any(note is not None and "no file events" in note and "nothing is claimed" in note for note in notes)


def test_command_that_may_start_no_process_says_so_and_changes_nothing(paths: Paths) -> None:
    before = sorted(path.name for path in paths.queue.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "weaver", "status", "--json"], env=home_environment(paths), cwd=paths.home, capture_output=True,
        text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["state"] == "stopped"
    assert sorted(path.name for path in paths.queue.rglob("*")) == before


@needs_namespace
def test_full_disk_loses_no_line_and_intake_goes_on_when_there_is_room(paths: Paths, tokenizer: Path) -> None:
    """The queue lies on a tmpfs of 4 MB that is filled to its last byte while a drop waits in the inbox."""
    (paths.config / "weaver.yaml").write_text(
        (paths.config / "weaver.yaml").read_text().replace("disk: {floor_gb: 5}", "disk: {floor_gb: 0}")
    )
    drop = paths.home / "drop.jsonl"
    drop.write_bytes(chat_lines("full.jsonl", 400)[1])
    done = in_namespace(paths, f"""
        mkdir ../kept; cp -r queue/. ../kept
        mount -t tmpfs -o size=4m tmpfs queue; cp -r ../kept/. queue
        cp drop.jsonl queue/inbox/.drop; sleep 0.1; mv queue/inbox/.drop queue/inbox/drop.jsonl
        dd if=/dev/zero of=queue/.filler bs=4k 2>/dev/null || true
        {once("watch_inbox")} || echo failed; {once("watch_inbox")} || echo failed
        rm queue/.filler
        {once("watch_inbox")}; {once("watch_inbox")}
        rm -r ../kept; cp -r queue ../kept
    """)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout, done.stdout + done.stderr
    after = Paths(paths.home.with_name("after"))
    after.home.mkdir()
    paths.home.with_name("kept").rename(after.queue)
    after.make()
    [job] = Spool(after).list("normal")
    assert len((after.state("normal") / job / "data.jsonl").read_bytes().splitlines()) == 400
    found = audit(after)
    assert (found.lines.dropped, found.lines.pending, found.lines.unaccounted) == (400, 400, 0)


@needs_namespace
def test_full_disk_gets_nobody_killed_and_all_goes_on_by_itself_when_there_is_room(paths: Paths) -> None:
    """About 30 s: promises must be broken, twice, before it is seen that nobody is killed for it."""
    switch_on(paths, "web", "reclaim_stale")
    done = in_namespace(paths, f"""
        mkdir ../kept; cp -r . ../kept
        mount -t tmpfs -o size=8m tmpfs .; cd "$PWD"; cp -r ../kept/. .
        exec {shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).with_name("full_disk.py")))}
    """)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@needs_namespace
def test_disk_that_may_not_be_written_is_told_and_nothing_is_changed(paths: Paths) -> None:
    drop = paths.inbox / "drop.jsonl"
    drop.write_bytes(chat_lines("readonly.jsonl", 10)[1])
    before = sorted(str(path) for path in paths.queue.rglob("*"))
    done = in_namespace(paths, f"""
        mount --bind . .; cd "$PWD"; mount -o remount,bind,ro .
        {shlex.quote(sys.executable)} -m weaver queue pause; echo "exit $?"
    """.replace("queue pause;", "queue pause || echo failed;"))  # fmt: skip
    assert "failed" in done.stdout, done.stdout + done.stderr
    assert "Read-only file system" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert sorted(str(path) for path in paths.queue.rglob("*")) == before


@pytest.fixture
def tokenizer(paths: Paths, tmp_path: Path) -> Path:
    """Give a home a base as far as intake needs it."""
    from trainer.tiny.tokenizer import save_tokenizer

    name = make_checkpoint(paths, 0, None)
    folder = paths.model("tiny").checkpoint(name)
    save_tokenizer(folder)
    return folder
