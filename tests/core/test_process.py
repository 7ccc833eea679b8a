"""Processes: told apart from whoever has their pid later, signalled only when they are meant, found by their mark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.clock import boot_id
from core.process import (
    SPAWN_VARIABLE,
    ProcessRef,
    catches,
    is_alive,
    lock_holder,
    send_signal,
    spawn,
    spawned,
    start_ticks,
    this_process,
)
from tests.fakes import wait_for

OTHER_BOOT = "00000000-0000-0000-0000-000000000000"
SLEEP = ("sleep", "60")
# Says when it is ready, notes SIGTERM and goes on.
STUBBORN = (
    sys.executable, "-c",
    "import signal; signal.signal(signal.SIGTERM, lambda *_: print('TERM', flush=True)); print('ready', flush=True);"
    " [signal.pause() for _ in range(9)]",
)  # fmt: skip


class Children:
    """Processes of one test; whatever is left of them is killed after it."""

    def __init__(self, tmp_path: Path) -> None:
        self._all: list[subprocess.Popen[bytes]] = []
        self.out, self.home_id = tmp_path / "logs" / "program.out", uuid.uuid4().hex[:12]
        self.cwd = tmp_path

    def spawn(self, argv: tuple[str, ...] = SLEEP, program: str = "sleeper", home_id: str = "", nice: int = 0) -> ProcessRef:
        environ = {**os.environ, "OWN": "value"}
        child = spawn(argv, program, home_id or self.home_id, self.out, environ, self.cwd, nice)
        return self.keep(child)

    def keep(self, child: subprocess.Popen[bytes]) -> ProcessRef:
        self._all.append(child)
        ticks = start_ticks(child.pid)
        return ProcessRef(pid=child.pid, start_ticks=-1 if ticks is None else ticks, boot_id=boot_id())

    def wait(self, ref: ProcessRef) -> int:
        return next(child for child in self._all if child.pid == ref.pid).wait(20)

    def end(self) -> None:
        for child in self._all:
            if child.poll() is None:
                child.kill()
            child.wait()


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    children = Children(tmp_path)
    yield children
    children.end()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# -- who is alive --------------------------------------------------------------------------------------------------------


def test_this_process_is_alive_and_known_by_pid_start_and_boot() -> None:
    me = this_process()
    assert is_alive(me) and me == this_process()
    assert (me.pid, me.boot_id) == (os.getpid(), boot_id())


def test_another_start_time_or_boot_is_another_process() -> None:
    me = this_process()
    assert not is_alive(msgspec.structs.replace(me, start_ticks=me.start_ticks + 1))
    assert not is_alive(msgspec.structs.replace(me, boot_id=OTHER_BOOT))


@pytest.mark.parametrize("pid", [0, -1, -(2**40), 2**22 + 1, 2**31, 2**62])
def test_number_that_no_process_has_is_nobody_and_cannot_be_signalled(pid: int) -> None:
    assert start_ticks(pid) is None
    nobody = ProcessRef(pid=pid, start_ticks=0, boot_id=boot_id())
    assert not is_alive(nobody)
    assert not send_signal(nobody, signal.SIGTERM) and not send_signal(nobody, signal.SIGTERM, group=True)


def test_zombie_is_dead_before_anybody_waits_for_it(children: Children) -> None:
    ref = children.spawn()
    assert is_alive(ref)
    os.kill(ref.pid, signal.SIGKILL)
    wait_for("a zombie", lambda: state_of(ref.pid) == "Z")
    assert not is_alive(ref) and start_ticks(ref.pid) is None
    assert not send_signal(ref, signal.SIGKILL)
    assert children.wait(ref) == -signal.SIGKILL
    assert not is_alive(ref) and not send_signal(ref, signal.SIGKILL)


def test_stopped_process_is_alive(children: Children) -> None:
    ref = children.spawn()
    os.kill(ref.pid, signal.SIGSTOP)
    wait_for("a stopped process", lambda: state_of(ref.pid) == "T")
    assert is_alive(ref)


@pytest.mark.parametrize("name", ["a) Z 1 2 (b", "((x", "new\nline)", ") R"])
def test_name_of_a_program_cannot_forge_its_state(children: Children, tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.symlink_to("/bin/sleep")
    ref = children.keep(subprocess.Popen([str(program), "60"]))
    wait_for("the program's own name", lambda: Path(f"/proc/{ref.pid}/comm").read_text()[:-1] == name[:15])
    assert start_ticks(ref.pid) == ref.start_ticks >= this_process().start_ticks
    assert is_alive(ref)


# -- signals -------------------------------------------------------------------------------------------------------------


def test_signal_reaches_the_process_that_is_meant(children: Children) -> None:
    ref = children.spawn(STUBBORN)
    wait_for("the process", lambda: "ready" in children.out.read_text())
    assert send_signal(ref, signal.SIGTERM)
    wait_for("its word", lambda: "TERM" in children.out.read_text())
    assert send_signal(ref, signal.SIGKILL)
    assert children.wait(ref) == -signal.SIGKILL


@pytest.mark.parametrize("group", [False, True])
def test_pid_that_was_reused_is_never_signalled(children: Children, group: bool) -> None:
    ref = children.spawn()
    for other in (
        msgspec.structs.replace(ref, start_ticks=ref.start_ticks - 1),
        msgspec.structs.replace(ref, boot_id=OTHER_BOOT),
    ):
        assert not send_signal(other, signal.SIGKILL, group)
    assert is_alive(ref)
    assert send_signal(ref, signal.SIGKILL, group) and children.wait(ref) == -signal.SIGKILL


def test_signal_to_a_group_reaches_its_children_and_one_to_the_process_does_not(children: Children) -> None:
    shell = ("sh", "-c", "sleep 60 & echo $!; wait")
    alone = children.spawn(shell)
    child = int(wait_for("the child", lambda: children.out.read_text().split()[:1])[0])
    ticks = start_ticks(child)
    assert ticks is not None
    ref = ProcessRef(pid=child, start_ticks=ticks, boot_id=boot_id())
    assert send_signal(alone, signal.SIGKILL) and children.wait(alone) == -signal.SIGKILL
    assert is_alive(ref), "the orphan lives on"
    os.kill(child, signal.SIGKILL)
    whole = children.spawn(shell)
    child = int(wait_for("the other child", lambda: children.out.read_text().split()[1:2])[0])
    assert send_signal(whole, signal.SIGKILL, group=True) and children.wait(whole) == -signal.SIGKILL
    wait_for("the end of the whole group", lambda: start_ticks(child) is None)


# -- spawning ------------------------------------------------------------------------------------------------------------


def test_program_has_its_own_session_its_mark_and_nothing_of_ours_but_the_environment(
    children: Children, tmp_path: Path
) -> None:
    children.out.parent.mkdir()
    children.out.write_text("before\n")
    asking = (
        "import os, sys; print(os.getsid(0) == os.getpid(), os.getcwd(), sys.stdin.read() == '', os.environ['OWN']);"
        f" print(os.environ['{SPAWN_VARIABLE}'], sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:3], os.nice(0));"
        " sys.stdout.flush(); print('an error', file=sys.stderr)"
    )
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        ref = children.spawn((sys.executable, "-c", asking), program="asker", nice=3)
        assert children.wait(ref) == 0
    assert children.out.read_text().splitlines() == [
        "before", f"True {tmp_path} True value", f"{children.home_id}:asker [0, 1, 2] {os.nice(0) + 3}", "an error",
    ]  # fmt: skip


def test_what_cannot_be_started_is_an_error_and_leaks_nothing(children: Children) -> None:
    before = list(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        children.spawn(("/no/such/program",))
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


def test_programs_are_found_by_the_mark_of_their_home_until_they_end(children: Children) -> None:
    other_home = uuid.uuid4().hex[:12]
    mine = {"trainer": children.spawn(program="trainer"), "web": children.spawn(program="web")}
    theirs = children.spawn(program="web", home_id=other_home)
    children.keep(subprocess.Popen(SLEEP, env={**os.environ, SPAWN_VARIABLE: ""}))
    children.keep(subprocess.Popen(SLEEP, env={**os.environ, f"X{SPAWN_VARIABLE}": f"{children.home_id}:web"}))
    wait_for("their marks, there once exec is over", lambda: dict(spawned(children.home_id)) == mine)
    wait_for("the other's", lambda: dict(spawned(other_home)) == {"web": theirs})
    assert list(spawned(children.home_id[:-1])) == [], "not by the beginning of an id"
    assert send_signal(mine["web"], signal.SIGKILL)
    wait_for("a zombie", lambda: start_ticks(mine["web"].pid) is None)
    assert dict(spawned(children.home_id)) == {"trainer": mine["trainer"]}, "a zombie has ended"


def test_child_of_a_program_carries_its_mark(children: Children) -> None:
    parent = children.spawn(("sh", "-c", "sleep 60 & wait"), program="trainer")
    found = wait_for("both", lambda: found if len(found := list(spawned(children.home_id))) == 2 else None)
    assert {program for program, _ in found} == {"trainer"} and parent in [ref for _, ref in found]
    assert send_signal(parent, signal.SIGKILL, group=True)
    wait_for("the end of both", lambda: not list(spawned(children.home_id)))


def test_mark_that_is_no_text_breaks_no_search(children: Children) -> None:
    environ = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    mark = f"{SPAWN_VARIABLE}={children.home_id}:".encode() + b"\xff\xfe"
    name, _, value = mark.partition(b"=")
    children.keep(subprocess.Popen(SLEEP, env={**environ, name: value}))
    found = wait_for("its mark, there once exec is over", lambda: [program for program, _ in spawned(children.home_id)])
    assert found == ["\ufffd\ufffd"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_process_of_another_user_is_not_ours_whatever_its_mark_says(children: Children) -> None:
    environ = {**os.environ, SPAWN_VARIABLE: f"{children.home_id}:web"}
    ref = children.keep(subprocess.Popen(SLEEP, env=environ, user=65534, cwd="/"))
    assert is_alive(ref) and list(spawned(children.home_id)) == []


def test_holder_of_a_lock_is_named_by_the_kernel_and_a_free_lock_by_nobody(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    program = "import fcntl, os, sys; fd = os.open(sys.argv[1], 0); fcntl.flock(fd, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"\n"
        assert lock_holder(tmp_path) == child.pid
        child.communicate(b"\n")
    assert lock_holder(tmp_path) is None


def test_signal_that_a_process_has_no_handler_for_is_known_before_it_is_sent() -> None:
    program = "import signal; signal.signal(signal.SIGUSR2, print); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"\n"
        ref = ProcessRef(pid=child.pid, start_ticks=start_ticks(child.pid) or 0, boot_id=boot_id())
        assert catches(ref, signal.SIGUSR2) and not catches(ref, signal.SIGUSR1)
        assert not catches(msgspec.structs.replace(ref, start_ticks=ref.start_ticks - 1), signal.SIGUSR2), "a reused pid"
        child.communicate(b"\n")
    assert not catches(ref, signal.SIGUSR2)
