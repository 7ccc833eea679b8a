"""Taking a port, and naming who has it."""

from __future__ import annotations

import os
import socket

import pytest

from core.errors import PortInUse
from core.http.ports import take_port


def test_port_zero_takes_a_free_one() -> None:
    with take_port("127.0.0.1", 0, "web", "WEAVER_WEB_PORT") as taken:
        assert taken.getsockname()[1] > 0
        socket.create_connection(taken.getsockname()).close()  # it listens


def test_taken_port_names_holder_and_variable() -> None:
    with take_port("127.0.0.1", 0, "web", "WEAVER_WEB_PORT") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse) as caught:
            take_port("127.0.0.1", port, "web", "WEAVER_WEB_PORT")
    message = str(caught.value)
    assert f"Port {port} of web is taken by pid {os.getpid()} (" in message
    assert "python" in message and "WEAVER_WEB_PORT" in message
    assert caught.value.exit_code == 78


def test_accepted_connections_answer_without_delay() -> None:
    """asyncio turns Nagle's algorithm off only for sockets that name their protocol."""
    with take_port("127.0.0.1", 0, "web", "WEAVER_WEB_PORT") as taken:
        assert taken.proto == socket.IPPROTO_TCP


def test_address_that_is_not_ours_is_an_os_error() -> None:
    with pytest.raises(OSError, match="assign"):
        take_port("192.0.2.1", 0, "web", "WEAVER_WEB_PORT")
