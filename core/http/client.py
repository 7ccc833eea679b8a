"""The HTTP client of the daemons and the command line: JSON over one kept-alive connection.

Place in the flow: probe_checkpoints, deploy_best and `weaver chat` talk to the oracle through it. Reads and writes no file.
Invariant: what cannot be reached, or asks to come back later (503, 429), is Unavailable; every other refusal is
RemoteRefused; a request is sent once and never repeated here.

http.client of the standard library and not requests, although libraries come first: in a light daemon, which already holds
email and ssl through APScheduler, http.client adds 0.1 MB of PSS and requests 5.4 MB, a fifth of the daemon's whole budget.
It also follows no redirects and no proxy variables, which these connections must not.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from core.errors import RemoteRefused, Unavailable, UsageError

COME_BACK_LATER = (429, 503)
DETAIL_CHARACTERS = 500

R = TypeVar("R")


class _ErrorText(msgspec.Struct):
    message: str = ""


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorText


class Client:
    """One connection to one service. timeout_s bounds every wait for the other side. Not for several threads at once."""

    def __init__(self, service: str, url: str, key: str | None = None, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None or parts.port == 0:
            raise UsageError(detail=f"{url!r} is not the address of a service: expected http://<host>:<port>.")
        self._service, self._url, self._timeout_s = service, url.rstrip("/"), timeout_s
        self._connection = HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
        self._headers = {"Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    @property
    def url(self) -> str:
        """The base URL."""
        return self._url

    def __enter__(self) -> Client:
        """Give itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._connection.close()

    def get(self, path: str, kind: type[R], timeout_s: float | None = None) -> R:
        """Ask for what a path shows, parsed as kind. Raises Unavailable, RemoteRefused."""
        return self._call("GET", path, None, kind, timeout_s)

    def post(self, path: str, body: object, kind: type[R], timeout_s: float | None = None) -> R:
        """Send body as JSON and give the answer, parsed as kind. Raises Unavailable, RemoteRefused."""
        return self._call("POST", path, msgspec.json.encode(body), kind, timeout_s)

    def stream(self, path: str, body: object, timeout_s: float | None = None) -> Iterator[bytes]:
        """Send body as JSON and give the data of each server-sent event as it comes. Raises Unavailable, RemoteRefused."""
        response = self._send("POST", path, msgspec.json.encode(body), timeout_s)
        try:
            self._check(path, response)
            while line := response.readline():
                if line.startswith(b"data:"):
                    yield line[5:].strip()
        except (OSError, HTTPException) as error:
            raise self._unavailable(path, error) from error
        finally:
            self.close()

    def _call(self, method: str, path: str, data: bytes | None, kind: type[R], timeout_s: float | None) -> R:
        response = self._send(method, path, data, timeout_s)
        try:
            self._check(path, response)
            answer = response.read()
        except (OSError, HTTPException) as error:
            self.close()
            raise self._unavailable(path, error) from error
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.DecodeError as error:
            detail = f"what it sent is not what this program expects ({error}); are both of one version?"
            raise RemoteRefused(service=self._service, status=response.status, url=self._url + path, detail=detail) from error

    def _send(self, method: str, path: str, data: bytes | None, timeout_s: float | None) -> HTTPResponse:
        if self._is_stale():
            self.close()
        timeout = self._timeout_s if timeout_s is None else timeout_s
        self._connection.timeout = timeout
        headers = self._headers if data is None else {**self._headers, "Content-Type": "application/json"}
        try:
            if self._connection.sock is not None:
                self._connection.sock.settimeout(timeout)
            self._connection.request(method, path, body=data, headers=headers)
            return self._connection.getresponse()
        except (OSError, HTTPException) as error:
            self.close()
            raise self._unavailable(path, error) from error

    def _is_stale(self) -> bool:
        """Say whether the other side closed the kept connection (an idle one has nothing to read but its end)."""
        if self._connection.sock is None:
            return False
        poll = select.poll()
        poll.register(self._connection.sock, select.POLLIN)
        return bool(poll.poll(0))

    def _check(self, path: str, response: HTTPResponse) -> None:
        if response.status == 200:
            return
        body = response.read()
        try:
            detail = msgspec.json.decode(body, type=_ErrorAnswer).error.message
        except msgspec.DecodeError:
            detail = body.decode("utf-8", "replace")
        detail = detail[:DETAIL_CHARACTERS] or response.reason
        url = self._url + path
        if response.status in COME_BACK_LATER:
            raise Unavailable(service=self._service, url=url, detail=detail)
        raise RemoteRefused(service=self._service, status=response.status, url=url, detail=detail)

    def _unavailable(self, path: str, error: Exception) -> Unavailable:
        detail = str(error) or type(error).__name__
        return Unavailable(service=self._service, url=self._url + path, detail=detail)
