"""One POST of JSON to a webhook, bounded in time whatever the receiver does.

Place in the flow: daemons/send_notices sends with it. Reads and writes no file. Invariants: it takes about timeout_s at most,
also with a receiver that never answers or answers a byte at a time; no redirect and no proxy is followed; what it says never
holds the URL.
"""

from __future__ import annotations

import base64
import socket
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit

from core import __version__

TIMEOUT_S = 5.0
_LONGEST_LINE = 4096


def post(url: str, body: bytes, timeout_s: float = TIMEOUT_S) -> str:
    """POST a JSON body to an http(s) URL; give why it was not taken, nothing when it was (a status of 200 to 299)."""
    parts, deadline = urlsplit(url), time.monotonic() + timeout_s
    make = HTTPSConnection if parts.scheme.lower() == "https" else HTTPConnection
    connection = make(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, _headers(parts))
        status = _status(connection.sock, deadline)
    except TimeoutError:
        return f"no answer within {timeout_s:.0f} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    except (HTTPException, ValueError) as error:
        return f"it is no HTTP ({type(error).__name__})"  # the text of these may quote the URL
    finally:
        connection.close()
    return "" if 200 <= status < 300 else f"it answered {status}"


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": f"weaver/{__version__}", "Connection": "close"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def _status(sock: socket.socket, deadline: float) -> int:
    """Read the status line alone. Raises TimeoutError at the deadline, ValueError for an answer that is no HTTP."""
    line = b""
    while b"\n" not in line and len(line) < _LONGEST_LINE:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        piece = sock.recv(_LONGEST_LINE)
        if not piece:
            break
        line += piece
    words = line.split(b" ", 2)
    if not line.startswith(b"HTTP/") or len(words) < 2:
        raise ValueError("no status line")
    return int(words[1][:3])
