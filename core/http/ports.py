"""Taking the port of a service, or saying who has it."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from core.errors import PortInUse


def take_port(address: str, port: int, service: str, variable: str) -> socket.socket:
    """Give a socket bound to address:port (0: any free one). Raises PortInUse naming the holder and the variable, OSError."""
    # With the protocol named, asyncio turns Nagle's algorithm off for what it accepts: else each answer waits for 40 ms.
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last process linger; a listener refuses
    try:
        taken.bind((address, port))
        taken.listen(128)  # from here on a second process is refused, before the server itself gets to listen
    except OSError as error:
        taken.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortInUse(port=port, service=service, holder=port_holder(port), variable=variable) from error
    return taken


def port_holder(port: int) -> str:
    """Say who listens on a port, as `pid 123 (command)`; a process of another user shows neither."""
    import psutil

    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
            return f"pid {connection.pid} ({_command(connection.pid)})"
    return "a process of another user"


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "command unknown"
    return b" ".join(words).decode("utf-8", "replace").strip() or "command unknown"
