"""The oracle: an OpenAI-compatible server that answers only as the checkpoint that was asked for.

Place in the flow: `python -m trainer serve`, started by the Weaver; evaluation, deployment and people are its clients
(CONTRACTS.md section 10). Reads config/, the key files, checkpoint folders; writes models/<model>/champion.json,
status/procs/oracle.json, status/endpoints/inference.json, logs/oracle.jsonl. Invariants: every route is in ROUTES, behind the
doors; exit codes 0 asked to stop, 78 misconfigured (a taken port included), 1 the worker broke.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType, MethodType

import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from core.clock import Clock, SystemClock, iso
from core.errors import InvalidConfig, WeaverError
from core.hosts import Endpoint, port_variable, wanted_port
from core.http.doors import App, Doors, Role, Route, openai_error
from core.http.ports import take_port
from core.in_force import read_in_force
from core.keys import read_key
from core.log import open_log, write_event
from core.paths import Paths
from core.process import hold
from core.pulse import BEAT_S, Pulse
from core.status import LastReport, State
from trainer.serve.api_errors import ApiError, as_api_error
from trainer.serve.handlers import LOAD_WAIT_S, Handlers
from trainer.serve.listing import Listing
from trainer.serve.names import Names
from trainer.serve.pool import Pool
from trainer.serve.worker import Worker

PROGRAM, SERVICE = "oracle", "inference"
ADDRESS = "127.0.0.1"
START_PATIENCE_S = 60.0
LAST_WORDS_S = 20
STOPPED, BROKEN, MISCONFIGURED = 0, 1, 78
BODY = 8 * 2**20
COME_BACK_LATER = (429, 503)

ROUTES: Mapping[Route, Callable[[Handlers, Request], Awaitable[Response]]] = {
    Route("GET", "/health", Role.PUBLIC): Handlers.health,
    Route("GET", "/v1/models", Role.READ): Handlers.models,
    Route("POST", "/v1/chat/completions", Role.READ, BODY): Handlers.chat,
    Route("POST", "/v1/completions", Role.READ, BODY): Handlers.completions,
    Route("POST", "/v1/weaver/batch", Role.READ, BODY): Handlers.batch,
    Route("POST", "/v1/score", Role.READ, BODY): Handlers.score,
    Route("POST", "/admin/load", Role.ADMIN): Handlers.load,
    Route("POST", "/admin/unload", Role.ADMIN): Handlers.unload,
    Route("POST", "/admin/alias", Role.ADMIN): Handlers.alias,
}


@dataclass(frozen=True)
class Oracle:
    """The whole server without its socket: the application behind its doors, and what works behind the application."""

    app: App
    pool: Pool
    worker: Worker
    clock: Clock

    def start(self) -> None:
        """Start the worker and have it load what the aliases meant when the last oracle ended."""
        self.pool.read_aliases()
        self.worker.start()
        for alias in self.pool.aliases:
            self.worker.task(partial(self.pool.restore, alias))

    def stop(self) -> None:
        """Finish what was submitted."""
        self.worker.stop()


def build(paths: Paths, log: logging.Logger, clock: Clock, device: str = "cpu", load_wait_s: float = LOAD_WAIT_S) -> Oracle:
    """Put the oracle together. Raises InvalidConfig, NotFound, KeyFileExposed."""
    now = read_in_force(paths, os.environ)
    if now.problem:
        log.error("%s", now.problem)
    keys = [
        (read_key(paths.tokens / "oracle-read"), Role.READ),
        (read_key(paths.tokens / "oracle-admin"), Role.ADMIN),
    ]
    worker = Worker()
    pool = Pool(paths, device, log, worker.is_wanted)
    names = Names(paths, pool, now.config.weaver.model)
    handlers = Handlers(pool, worker, names, Listing(paths, pool, names), clock, load_wait_s)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for route, handler in ROUTES.items():
        app.add_api_route(route.path, MethodType(handler, handlers), methods=[route.method])
    app.add_exception_handler(WeaverError, _refused)
    app.add_exception_handler(Exception, _broken)
    return Oracle(Doors(app, ROUTES, keys, openai_error), pool, worker, clock)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, WeaverError)  # registered for these alone
    answer = as_api_error(error)
    headers = {"retry-after": "1"} if answer.status in COME_BACK_LATER else None
    return JSONResponse(answer.body(), answer.status, headers)


async def _broken(request: Request, error: Exception) -> Response:
    """Answer what nobody expected; uvicorn logs it with its traceback."""
    return JSONResponse(ApiError(500, "server_error", f"The oracle failed: {type(error).__name__}.").body(), 500)


class Server(uvicorn.Server):
    """uvicorn, with signals that only ask: what is in flight is finished and the exit code is ours."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: stop accepting, finish what is being answered."""
        self.should_exit = True


def main(home: Path) -> int:
    """Serve until asked to stop; give the exit code. Raises LockHeld when another oracle serves this home."""
    paths = Paths(home)
    paths.make()
    lock = _lock(paths)
    try:
        return _run(paths, SystemClock())
    finally:
        os.close(lock)


def _run(paths: Paths, clock: Clock) -> int:
    log = open_log(paths, PROGRAM)
    logging.getLogger("uvicorn.error").handlers = log.handlers
    pulse = Pulse(paths, clock, PROGRAM, log)
    pulse.beat(State.STARTING, "start", "starting", START_PATIENCE_S)
    try:
        torch.set_num_threads(_threads(os.environ))
        oracle = build(paths, log, clock, "cuda" if torch.cuda.is_available() else "cpu")
        taken, endpoint = _take_port(paths, os.environ)
    except (WeaverError, OSError) as error:
        log.error("misconfigured: %s", error)
        print(error, file=sys.stderr)
        pulse.beat(State.EXITED, "end", f"misconfigured: {error}", error=str(error), exit_code=MISCONFIGURED)
        return MISCONFIGURED
    code = _serve(oracle, taken, endpoint, pulse, log)
    write_event(paths, PROGRAM, "stopped", exit_code=code)
    broke = None if oracle.worker.crashed is None else repr(oracle.worker.crashed)
    pulse.beat(State.EXITED, "end", "stopped" if code == STOPPED else "broke down", error=broke, exit_code=code)
    return code


def _threads(environ: Mapping[str, str]) -> int:
    text = environ.get("OMP_NUM_THREADS", "1")
    if not text.isdigit() or int(text) < 1:
        raise InvalidConfig(path="OMP_NUM_THREADS", detail=f"expected a number of threads, got {text!r}")
    return int(text)


def _lock(paths: Paths) -> int:
    """Become the only oracle of this home: champion.json has one writer. Raises LockHeld."""
    folder = paths.orders / PROGRAM
    folder.mkdir(parents=True, exist_ok=True)
    return hold(folder, f"the oracle of {paths.home}", "another oracle, ")


def _take_port(paths: Paths, environ: Mapping[str, str]) -> tuple[socket.socket, Endpoint]:
    now = read_in_force(paths, environ)
    hosts, here = now.hosts, now.here
    if SERVICE not in hosts.hosts[here].services:
        raise InvalidConfig(path="config/hosts.json", detail=f"host {here!r} has no service {SERVICE!r}")
    taken = take_port(ADDRESS, wanted_port(hosts.hosts[here], SERVICE, environ), SERVICE, port_variable(SERVICE))
    return taken, Endpoint(service=SERVICE, host=here, address=ADDRESS, port=taken.getsockname()[1], pid=os.getpid())


def server_of(oracle: Oracle) -> Server:
    """Make the HTTP server of an oracle, without a socket."""
    return Server(
        uvicorn.Config(
            oracle.app, log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none", lifespan="off",
            loop="asyncio", http="h11", timeout_graceful_shutdown=LAST_WORDS_S,
        )
    )  # fmt: skip


def _serve(oracle: Oracle, taken: socket.socket, endpoint: Endpoint, pulse: Pulse, log: logging.Logger) -> int:
    server = server_of(oracle)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    oracle.start()
    pulse.serve_at(endpoint)
    log.info("serving http://%s:%d (pid %d)", endpoint.address, endpoint.port, endpoint.pid)
    try:
        asyncio.run(_serve_and_beat(server, taken, oracle, pulse))
    finally:
        oracle.stop()
    if oracle.worker.crashed is not None:
        log.error("the worker broke: %r", oracle.worker.crashed, exc_info=oracle.worker.crashed)
        return BROKEN
    log.info("ends with exit code 0")
    return STOPPED


async def _serve_and_beat(server: Server, taken: socket.socket, oracle: Oracle, pulse: Pulse) -> None:
    async def keep_beating() -> None:
        while True:
            if oracle.worker.crashed is not None:
                server.should_exit = True
            elif oracle.worker.keeps_promise():
                phase = "serve" if oracle.worker.waiting_rows else "wait"
                state = State.STOPPING if server.should_exit else State.RUNNING
                pulse.beat(state, phase, _note(oracle), report=_report(oracle))
            await asyncio.sleep(BEAT_S)

    beating = asyncio.create_task(keep_beating())
    try:
        await server.serve(sockets=[taken])
    finally:
        beating.cancel()


def _report(oracle: Oracle) -> LastReport:
    answered = oracle.worker.answered
    return LastReport(did=answered, note=f"{answered} answered", facts={"answered": answered}, at=iso(oracle.clock.now()))


def _note(oracle: Oracle) -> str:
    aliases = ", ".join(f"{alias} = {target.checkpoint}" for alias, target in oracle.pool.aliases.items())
    lost = ", ".join(f"{alias} was not restored" for alias in oracle.pool.broken)
    held = f"{len(oracle.pool.loaded)} loaded, {oracle.worker.waiting_rows} rows waiting, {oracle.worker.answered} answered"
    return "; ".join(part for part in (aliases, held, lost) if part)
