"""Processes by pid, start time and boot id; spawning in own sessions; finding what we spawned."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from core.clock import boot_id
from core.errors import LockHeld
from core.records import Part

SPAWN_VARIABLE = "WEAVER_SPAWN"
# Every program answers it with the stacks of all its threads on stderr, by faulthandler: also while it is stuck in C code.
STACKS_SIGNAL = signal.SIGUSR2


class ProcessRef(Part, frozen=True):
    """A process that cannot be mistaken for another: start_ticks is field 22 of /proc/<pid>/stat."""

    pid: int
    start_ticks: int
    boot_id: str


def start_ticks(pid: int) -> int | None:
    """Give the start time of a live process in clock ticks since boot; None when it is gone or a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def parent_of(pid: int) -> int:
    """Give the parent of a process; 0 when the process is gone."""
    fields = _stat(pid)
    return 0 if fields is None else int(fields[1])


def zombies_of(parents: Container[int]) -> list[tuple[int, int]]:
    """Give (pid, parent) of every dead process that one of these parents has not reaped."""
    found = [(int(path.name), _stat(int(path.name))) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [(pid, int(fields[1])) for pid, fields in found if fields and fields[0] == "Z" and int(fields[1]) in parents]


def _stat(pid: int) -> list[str] | None:
    """Give the fields of /proc/<pid>/stat from the state letter on (proc(5)); None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return text.rpartition(")")[2].split()


def this_process() -> ProcessRef:
    """Describe this process."""
    ticks = start_ticks(os.getpid())
    assert ticks is not None  # this process is alive
    return ProcessRef(pid=os.getpid(), start_ticks=ticks, boot_id=boot_id())


def is_alive(ref: ProcessRef) -> bool:
    """Say whether that very process is alive: same boot, same start time, no zombie."""
    return ref.boot_id == boot_id() and start_ticks(ref.pid) == ref.start_ticks


def send_signal(ref: ProcessRef, number: int, group: bool = False) -> bool:
    """Signal that very process (or its process group); False when it is gone. A pid that was reused is never signalled."""
    if not is_alive(ref):  # a number that no process can have would be an error of pidfd_open
        return False
    try:
        fd = os.pidfd_open(ref.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(ref):
            return False
        if group:
            os.killpg(ref.pid, number)
        else:
            signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def hold(folder: Path, what: str, who: str = "") -> int:
    """Have a folder to oneself for as long as the descriptor given is open: a kernel lock, which ends with its holder.

    Raises LockHeld, at once, which says what is held and names the holder: `who`, then its pid.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise LockHeld(what=what, holder=f"{who}pid {lock_holder(folder) or 'unknown'}") from error
    return fd


def lock_holder(locked: Path) -> int | None:
    """Give the pid that holds the flock of a file or folder, as the kernel lists it (/proc/locks); None: not seen."""
    try:
        stat, lines = locked.stat(), Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    device, found = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}", dict[str, int]()
    for line in lines:
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(stat.st_ino):
            found[fields[5].rpartition(":")[0]] = int(fields[4])
    # Some file systems (btrfs, overlayfs) show another device there than stat() does.
    return found.get(device, next(iter(found.values())) if len(found) == 1 else None)


def catches(ref: ProcessRef, number: int) -> bool:
    """Say whether that very process has a handler for a signal (SigCgt in /proc/<pid>/status)."""
    try:
        lines = Path(f"/proc/{ref.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    return bool(caught >> (number - 1) & 1) and is_alive(ref)


def spawn(
    argv: Sequence[str], program: str, home_id: str, out: Path, environ: Mapping[str, str], cwd: Path, nice: int = 0
) -> subprocess.Popen[bytes]:
    """Start a program in its own session with stdout and stderr appended to out, marked with WEAVER_SPAWN=<home>:<program>."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        return subprocess.Popen(
            ["nice", "-n", str(nice), *argv] if nice else list(argv),
            stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, cwd=cwd,
            env={**environ, SPAWN_VARIABLE: f"{home_id}:{program}"}, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(fd)


def spawned(home_id: str) -> Iterator[tuple[str, ProcessRef]]:
    """Give (program, process) for every live process of this user that this home spawned, by its environment in /proc."""
    mark = f"{SPAWN_VARIABLE}={home_id}:".encode()
    boot = boot_id()
    with os.scandir("/proc") as entries:
        pids = [entry for entry in entries if entry.name.isdigit()]
    for entry in pids:
        try:
            if entry.stat().st_uid != os.getuid():
                continue
            environ = Path(entry.path, "environ").read_bytes()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        found = [item for item in environ.split(b"\0") if item.startswith(mark)]
        ticks = start_ticks(int(entry.name)) if found else None
        if found and ticks is not None:
            program = found[0][len(mark) :].decode("utf-8", "replace")
            yield program, ProcessRef(pid=int(entry.name), start_ticks=ticks, boot_id=boot)
