"""How a browser gets in: a one-time code, exchanged for a signed cookie.

Place in the flow: `weaver open` asks POST /api/login-code with the key and prints the link, the login page sends the code to
POST /login, the doors read the cookie. Reads and writes no file: codes live 60 s in memory, the cookie is signed with the key
itself, so it outlives a restart and dies with the key. Invariant: a code is good once; comparisons take constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from core.clock import Clock

CODE_S = 60.0
SESSION_S = 7 * 86400
MOST_CODES = 16


class LoginCodes:
    """The codes given out and not used yet; the oldest goes when there are too many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def give(self) -> str:
        """Make a code that is good once, for CODE_S seconds."""
        while len(self._until) >= MOST_CODES:
            del self._until[next(iter(self._until))]
        code = secrets.token_urlsafe(24)
        self._until[_digest(code)] = self._clock.mono() + CODE_S
        return code

    def take(self, code: str) -> bool:
        """Use a code up and say whether it was good."""
        until = self._until.pop(_digest(code), None)
        return until is not None and self._clock.mono() <= until


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()


class Cookies:
    """Signs and reads the session cookie; its name holds the home's id, because cookies do not tell ports apart."""

    def __init__(self, key: str, home_id: str, clock: Clock) -> None:
        self.name = f"weaver_{home_id}"
        self._key, self._clock = key.encode(), clock

    def make(self) -> str:
        """Give the value of a cookie that is good for SESSION_S seconds from now."""
        until = str(int(self._clock.now().timestamp()) + SESSION_S)
        return f"{until}.{self._sign(until)}"

    def header(self) -> str:
        """Give the Set-Cookie header of a new session."""
        return f"{self.name}={self.make()}; Path=/; Max-Age={SESSION_S}; HttpOnly; SameSite=Strict"

    def is_good(self, headers: Mapping[str, str]) -> bool:
        """Say whether a request's lower-cased headers carry a cookie that we signed and that has not ended."""
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            until, _, signature = value.partition(".")
            if name == self.name and hmac.compare_digest(signature.encode(), self._sign(until).encode()):
                return until.isdigit() and int(until) > self._clock.now().timestamp()
        return False

    def _sign(self, until: str) -> str:
        return hmac.new(self._key, f"weaver session until {until}".encode(), hashlib.sha256).hexdigest()
