"""The processes that the Weaver holds: children it started and strangers it adopted, each behind a pidfd.

Invariant: a dead process wakes wait() at once; only the very process behind a handle is ever signalled. The Weaver takes the
place of init for what its programs leave behind, so that nothing of a home stays a zombie while it lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
from dataclasses import dataclass
from typing import NamedTuple

from core.clock import boot_id
from core.process import STACKS_SIGNAL, ProcessRef, catches, is_alive, send_signal, start_ticks

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Handle:
    """One living process. child is None for an adopted one, whose exit status nobody can tell us."""

    ref: ProcessRef
    fd: int
    child: subprocess.Popen[bytes] | None


class Death(NamedTuple):
    """One program that is gone. ref: None if its process was never held; code: -n for signal n, None: nobody knows.

    unstarted: why the machine did not let it be started at all.
    """

    name: str
    ref: ProcessRef | None
    code: int | None
    unstarted: str = ""


class Processes:
    """All processes that are looked after, by program name."""

    def __init__(self, wake_fd: int) -> None:
        self._poll = select.poll()
        self._wake_fd = wake_fd
        self._poll.register(wake_fd, select.POLLIN)
        self._handles: dict[str, Handle] = {}
        self._reaps = False

    def become_reaper(self) -> None:
        """Have orphans of our descendants become our children instead of init's, and reap them (prctl(2))."""
        self._reaps = ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0

    def __contains__(self, name: str) -> bool:
        return name in self._handles

    def refs(self) -> list[ProcessRef]:
        """Give all processes held."""
        return [handle.ref for handle in self._handles.values()]

    def hold_child(self, name: str, child: subprocess.Popen[bytes]) -> ProcessRef | None:
        """Look after a child; None when it is dead already (its exit code is in child).

        Raises OSError when it cannot be held; then it is killed, for nobody would ever look after it.
        """
        try:
            ticks = start_ticks(child.pid)
            if ticks is None:
                child.wait()
                return None
            ref = ProcessRef(pid=child.pid, start_ticks=ticks, boot_id=boot_id())
            self._hold(name, Handle(ref, os.pidfd_open(child.pid), child))
        except OSError:
            child.kill()
            child.wait()
            raise
        return ref

    def adopt(self, name: str, ref: ProcessRef) -> bool:
        """Look after a process that somebody else started; False when it is gone."""
        try:
            fd = os.pidfd_open(ref.pid)
        except ProcessLookupError:
            return False
        is_it = False
        try:
            is_it = is_alive(ref)
        finally:
            if not is_it:
                os.close(fd)
        if is_it:
            self._hold(name, Handle(ref, fd, None))
        return is_it

    def _hold(self, name: str, handle: Handle) -> None:
        self._handles[name] = handle
        self._poll.register(handle.fd, select.POLLIN)

    def wait(self, timeout_s: float) -> list[Death]:
        """Wait for a death, a wake-up or the time-out; give the dead, which are held no longer."""
        ready = {fd for fd, _ in self._poll.poll(max(0.0, timeout_s) * 1000)}
        dead = [(name, handle) for name, handle in self._handles.items() if handle.fd in ready]
        codes = [handle.child.wait() if handle.child else self._reap(handle.fd) for _, handle in dead]
        for name, handle in dead:
            self._poll.unregister(handle.fd)
            os.close(handle.fd)
            del self._handles[name]
        if self._reaps:
            self._reap_strangers()
        return [Death(name, handle.ref, code) for (name, handle), code in zip(dead, codes, strict=True)]

    def _reap(self, fd: int) -> int | None:
        """Give the exit code of an adopted process (-n: signal n) if it became our child when its parent died, else None."""
        try:
            found = os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOHANG) if self._reaps else None
        except ChildProcessError:
            return None
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _reap_strangers(self) -> None:
        """Reap dead orphans that nobody holds; one that is held is reaped where its exit code is wanted."""
        held = {ref.pid for ref in self.refs()}
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid not in held:
                os.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG)

    def signal(self, name: str, number: int) -> bool:
        """Signal one process; with SIGKILL its whole group, if it leads one. False when it is gone, or not held."""
        if name not in self._handles:
            return False
        ref = self._handles[name].ref
        try:
            leads = os.getpgid(ref.pid) == ref.pid
        except ProcessLookupError:
            return False
        return send_signal(ref, number, group=number == signal.SIGKILL and leads)

    def ask_for_stacks(self, name: str) -> bool:
        """Ask a process to print the stacks of its threads; False if it does not know the question, which would end it."""
        if name not in self._handles:
            return False
        ref = self._handles[name].ref
        return catches(ref, STACKS_SIGNAL) and send_signal(ref, STACKS_SIGNAL)
