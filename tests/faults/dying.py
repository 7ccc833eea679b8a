"""Die at any call that changes the disk: a copy of this process does something and kills itself at its k-th such call.

What a random kill -9 hits by luck, this goes through one by one: creating, flushing, renaming and removing files and folders,
seen through Python's audit hooks, so that nothing of the code under test has to be replaced.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

_CHANGES = ("shutil.rmtree", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
UNHARMED, BROKEN = 0, 1


def dies_at(call: int, inside: os.PathLike[str], do: Callable[[], object]) -> bool:
    """Run do() in a copy of this process that is killed just before its n-th call (from 1) that changes something inside.

    False: it came to its end before that. Raises AssertionError if it failed by itself.
    """
    pid = os.fork()
    if pid == 0:
        code = BROKEN
        try:
            die_at(call, os.fspath(inside))
            do()
            code = UNHARMED
        finally:  # the copy of a test must never go on as a test
            if code == BROKEN:
                traceback.print_exc()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"ended by signal {os.WTERMSIG(status)}"
        return True
    assert os.WEXITSTATUS(status) == UNHARMED, "it failed by itself; see the traceback on stderr"
    return False


def die_at(call: int, inside: str) -> None:
    """Let this process be killed just before its n-th call (from 1, from now on) that changes something inside a folder."""
    left = call

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        if _is_change(event, args, inside):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _is_change(event: str, args: tuple[Any, ...], inside: str) -> bool:
    """Say whether an audit event changes the disk; opening a folder or file by descriptor is how it is flushed."""
    if event == "open":
        path, mode, flags = args
        is_change = mode is None or bool(flags & _WRITING)
    else:
        path, is_change = (args[0] if args else None), event in _CHANGES
    return is_change and isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(inside)
