"""The processes that the Weaver holds: children it started and strangers it adopted, each behind a pidfd.

Invariant: a dead process wakes wait() at once; only the very process behind a handle is ever signalled.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from dataclasses import dataclass

from core.clock import boot_id
from core.process import ProcessRef, is_alive, send_signal, start_ticks


@dataclass(frozen=True)
class Handle:
    """One living process. child is None for an adopted one, whose exit status nobody can tell us."""

    ref: ProcessRef
    fd: int
    child: subprocess.Popen[bytes] | None


class Processes:
    """All processes that are looked after, by program name."""

    def __init__(self, wake_fd: int) -> None:
        self._poll = select.poll()
        self._wake_fd = wake_fd
        self._poll.register(wake_fd, select.POLLIN)
        self._handles: dict[str, Handle] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._handles

    def refs(self) -> list[ProcessRef]:
        """Give all processes held."""
        return [handle.ref for handle in self._handles.values()]

    def hold_child(self, name: str, child: subprocess.Popen[bytes]) -> ProcessRef | None:
        """Look after a child; None when it is dead already (its exit code is in child)."""
        ticks = start_ticks(child.pid)
        if ticks is None:
            child.wait()
            return None
        ref = ProcessRef(pid=child.pid, start_ticks=ticks, boot_id=boot_id())
        self._hold(name, Handle(ref, os.pidfd_open(child.pid), child))
        return ref

    def adopt(self, name: str, ref: ProcessRef) -> bool:
        """Look after a process that somebody else started; False when it is gone."""
        try:
            fd = os.pidfd_open(ref.pid)
        except ProcessLookupError:
            return False
        if not is_alive(ref):
            os.close(fd)
            return False
        self._hold(name, Handle(ref, fd, None))
        return True

    def _hold(self, name: str, handle: Handle) -> None:
        self._handles[name] = handle
        self._poll.register(handle.fd, select.POLLIN)

    def wait(self, timeout_s: float) -> list[tuple[str, ProcessRef, int | None]]:
        """Wait for a death, a wake-up or the time-out; give the dead: name, process, exit code (None when nobody knows)."""
        ready = {fd for fd, _ in self._poll.poll(max(0.0, timeout_s) * 1000)}
        dead = [(name, handle) for name, handle in self._handles.items() if handle.fd in ready]
        for name, handle in dead:
            self._poll.unregister(handle.fd)
            os.close(handle.fd)
            del self._handles[name]
        return [(name, handle.ref, handle.child.wait() if handle.child else None) for name, handle in dead]

    def signal(self, name: str, number: int) -> bool:
        """Signal one process; with SIGKILL its whole group, if it leads one. False when it is gone."""
        ref = self._handles[name].ref
        try:
            leads = os.getpgid(ref.pid) == ref.pid
        except ProcessLookupError:
            return False
        return send_signal(ref, number, group=number == signal.SIGKILL and leads)
