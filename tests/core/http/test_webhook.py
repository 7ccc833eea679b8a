"""One POST to a webhook, against a real receiver: what is sent, what is refused, and how long it may take."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from core.http.webhook import post
from tests.receiver import receiving


def test_body_arrives_as_json_with_the_user_of_the_url() -> None:
    with receiving() as receiver:
        assert post(f"http://anna:s%40crt@{receiver.address}/hook?token=t", b'{"a": 1}') == ""
    assert receiver.bodies == [{"a": 1}]
    assert receiver.heads[0]["Content-Type"] == "application/json"
    assert receiver.heads[0]["Authorization"] == "Basic YW5uYTpzQGNydA=="


@pytest.mark.parametrize("status", [302, 404, 500])
def test_other_answer_is_said_and_no_redirect_followed(status: int) -> None:
    with receiving(status) as receiver:
        assert post(f"http://{receiver.address}/secret", b"{}") == f"it answered {status}"


@pytest.mark.parametrize("drips", [False, True])
def test_receiver_that_never_answers_costs_the_time_out_and_no_more(drips: bool) -> None:
    with receiving(None) as receiver:
        receiver.drips = drips
        started = time.monotonic()
        assert post(f"http://{receiver.address}/secret", b"{}", timeout_s=1.0) == "no answer within 1 s"
        assert time.monotonic() - started < 4.0


def test_nobody_there_and_no_http_are_said_without_the_url() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert post(f"http://127.0.0.1:{port}/secret", b"{}") == "Connection refused"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(1000)
                client.sendall(b"SSH-2.0-nothing\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        said = post(f"http://127.0.0.1:{server.getsockname()[1]}/secret", b"{}")
        thread.join()
    assert said == "it is no HTTP (ValueError)"
    assert "secret" not in post("http://127.0.0.1:1/sec\nret", b"{}")
