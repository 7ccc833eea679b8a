"""The web process: takes its port, serves the application, beats, and ends when asked.

Place in the flow: `python -m weaver.web`, started by the Weaver. Reads config/, the key file; writes status/procs/web.json
every 2 s and status/endpoints/web.json (again when it was deleted), logs/web.jsonl. Invariants: the beat comes from the loop
that answers requests, so a frozen server is seen; exit codes 0 asked to stop, 78 misconfigured (a taken port included).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping
from types import FrameType

import uvicorn

from core.clock import Clock, SystemClock
from core.errors import InvalidConfig, WeaverError
from core.hosts import Endpoint, port_variable, wanted_port
from core.http.ports import take_port
from core.in_force import InForce, read_in_force
from core.keys import read_key
from core.log import open_log
from core.paths import Paths
from core.pulse import BEAT_S, Pulse
from core.status import State
from weaver.web.app import Web, build
from weaver.web.context import WebContext

NAME = "web"
START_PATIENCE_S = 30.0
MISCONFIGURED = 78
LAST_WORDS_S = 3


class Server(uvicorn.Server):
    """uvicorn, ending its event streams when it is asked to stop."""

    web: Web

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: stop accepting, end the streams, finish what is being answered."""
        self.should_exit = True
        self.web.hub.close()


def _context(paths: Paths, environ: Mapping[str, str], clock: Clock, log: logging.Logger, now: InForce) -> WebContext:
    if now.problem:
        log.error("%s", now.problem)
    config = now.config
    return WebContext(
        paths=paths, environ=environ, clock=clock, log=log, key=read_key(paths.tokens / NAME),
        allowed_hosts=config.weaver.web.allowed_hosts, max_upload_bytes=config.weaver.web.max_upload_mb * 2**20,
        floor_bytes=config.weaver.disk.floor_bytes,
    )  # fmt: skip


def _take_port(environ: Mapping[str, str], now: InForce) -> tuple[socket.socket, Endpoint]:
    hosts, here = now.hosts, now.here
    if NAME not in hosts.hosts[here].services:
        raise InvalidConfig(path="config/hosts.json", detail=f"host {here!r} has no service 'web'")
    taken = take_port(now.config.weaver.web.bind, wanted_port(hosts.hosts[here], NAME, environ), NAME, port_variable(NAME))
    port = taken.getsockname()[1]
    return taken, Endpoint(service=NAME, host=here, address=hosts.hosts[here].address, port=port, pid=os.getpid())


async def _serve(server: Server, taken: socket.socket, pulse: Pulse, note: str) -> None:
    async def keep_beating() -> None:
        while True:
            pulse.beat(State.RUNNING, "serve", note)
            await asyncio.sleep(BEAT_S)

    beating = asyncio.create_task(keep_beating())
    try:
        await server.serve(sockets=[taken])
    finally:
        beating.cancel()


def run(paths: Paths, environ: Mapping[str, str]) -> int:
    """Serve until asked to stop; give the exit code: 0, or 78 when the configuration, the key or the port is not right."""
    paths.make()
    log, clock = open_log(paths, NAME), SystemClock()
    pulse = Pulse(paths, clock, NAME, log)
    pulse.beat(State.STARTING, "serve", "starting", START_PATIENCE_S)
    try:
        now = read_in_force(paths, environ)
        context = _context(paths, environ, clock, log, now)
        taken, endpoint = _take_port(environ, now)
    except (WeaverError, OSError) as error:
        log.error("misconfigured: %s", error)
        pulse.beat(State.EXITED, "serve", f"misconfigured: {error}", error=str(error), exit_code=MISCONFIGURED)
        return MISCONFIGURED
    web = build(context)
    config = uvicorn.Config(
        web.app, log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none", loop="asyncio",
        http="h11", timeout_graceful_shutdown=LAST_WORDS_S, limit_concurrency=128,
    )  # fmt: skip
    server = Server(config)
    server.web = web
    pulse.serve_at(endpoint)
    note = f"http://{endpoint.address}:{endpoint.port}"
    log.info("serving %s (pid %d)", note, os.getpid())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asyncio.run(_serve(server, taken, pulse, note))
    log.info("ends with exit code 0")
    pulse.beat(State.EXITED, "serve", "stopped", exit_code=0)
    return 0
