"""Since when the Weaver sees what there is to see: only then does a missing heartbeat prove anything.

Place in the flow: the supervisor notes every step here, plan() reads it. Pure. Invariant: nobody is held for hung by a Weaver
that has just started or did not run for a while, nor for a heartbeat that may have found no room on a full disk.
"""

from __future__ import annotations

BLIND_S = 3.0
SIGHT_S = 6.0


class Sight:
    """What one Weaver could see, in monotonic seconds.

    is_full: its own heartbeat, which lies beside all others, cannot be written, whatever the reason. full_until: when that was
    so last; a disk that is full to the brim takes one and refuses the next.
    """

    def __init__(self, now: float) -> None:
        self._stepped = now
        self.blind_until = now + SIGHT_S
        self.full_until = float("-inf")
        self.is_full = False

    def step(self, now: float, is_full: bool) -> bool:
        """Note a step of the Weaver. True: there is room again, after there was none."""
        if is_full:
            self.full_until = now
        if now - self._stepped > BLIND_S:
            self.blind_until = now + SIGHT_S
        has_room_again = self.is_full and not is_full
        self._stepped, self.is_full = now, is_full
        return has_room_again
