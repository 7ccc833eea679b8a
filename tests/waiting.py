"""Seeing in the kernel's table that somebody waits for a lock, so that a test need not guess how long that takes."""

from __future__ import annotations

from pathlib import Path


def is_awaited(locked: Path) -> bool:
    """Say whether a process or thread waits for the flock of a file or folder (`->` in /proc/locks)."""
    inode = str(locked.stat().st_ino)
    lines = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    return any("->" in fields and any(field.rpartition(":")[2] == inode for field in fields) for fields in lines)
