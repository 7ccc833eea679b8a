"""POST /api/inbox and GET /api/inbox/{drop}: a file from the network into the inbox, and what became of it.

Place in the flow: writes into queue/inbox/.upload-<pid>-<hex>/ while bytes arrive, then flushes the file and renames it to its
name, its sidecar (part `sidecar`, JSON) first; watch_inbox takes it like any other drop. Invariants: the body is never held in
memory; a name that is not a plain file name is refused; nothing that is in the inbox is ever overwritten; a broken upload
leaves nothing.
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from core.errors import AlreadyExists, DiskLow, InvalidData, NotFound, UsageError
from core.files import OPS, move
from core.jobs.finding import Receipt, receipt
from core.jobs.inbox import SIDECAR_ENDING, UNFINISHED, stem
from core.jobs.job import Sidecar
from core.jobs.spool import Spool
from core.names import slug
from core.paths import STATES, Paths
from core.process import start_ticks
from core.records import decode_strict
from weaver.web.answers import DropTaken
from weaver.web.context import WebContext
from weaver.web.replies import reply

SIDECAR_BYTES = 2**20
PREFIX = ".upload-"
MOST_NAMES = 10_000
_BLOCK = 1 << 20


def is_plain(name: str) -> bool:
    """Say whether a name is that of one visible file, in no folder."""
    return bool(name) and not set("/\\") & set(name) and name[0] != "." and name.isprintable() and len(name.encode()) <= 200


def check_name(name: str) -> str:
    """Give a file name back if it may lie in the inbox. Raises UsageError."""
    if not is_plain(name):
        raise UsageError(detail=f"{name[:100]!r} is not a plain file name: no folders, no leading dot, at most 200 bytes.")
    if name in ("high", "low") or name.lower().endswith((*UNFINISHED, SIDECAR_ENDING)):
        raise UsageError(detail=f"{name!r} is a name that the inbox keeps for itself or takes for an unfinished file.")
    return name


@dataclass
class _Part:
    headers: dict[str, str] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    filename: str | None = None


class Form:
    """Takes a multipart body apart as it arrives: one file part into a file, one small sidecar part into memory."""

    def __init__(self, boundary: bytes, file: BinaryIO) -> None:
        self.filename: str | None = None
        self.sidecar: bytes | None = None
        self.is_whole = False
        self._file, self._part = file, _Part()
        callbacks: Any = {
            "on_part_begin": self._begin, "on_part_data": self._data, "on_header_field": self._header_name,
            "on_header_value": self._header_value, "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished, "on_end": self._end,
        }  # fmt: skip
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise UsageError(detail=f"The body cannot be taken apart: {error}") from error

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body. Raises UsageError for what is not the form we ask for."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise UsageError(detail=f"The body is not multipart/form-data: {error}") from error

    def _begin(self) -> None:
        self._part = _Part()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers[part.header_name.decode("latin-1").lower()] = part.header_value.decode("latin-1")
        part.header_name = part.header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get("content-disposition", ""))
        part = self._part
        part.name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if part.name == "sidecar" and self.sidecar is None:
            self.sidecar = b""
        elif part.name == "file" and filename is not None and self.filename is None:
            self.filename = check_name(filename.decode("utf-8", "replace"))
        else:
            raise UsageError(detail=f"Part {part.name[:100]!r} is not expected: send one `file` and at most one `sidecar`.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == "file":
            self._file.write(data[start:end])
            return
        self.sidecar = (self.sidecar or b"") + data[start:end]
        if len(self.sidecar) > SIDECAR_BYTES:
            raise UsageError(detail=f"The sidecar is larger than {SIDECAR_BYTES} bytes.")

    def _end(self) -> None:
        self.is_whole = True


class InboxApi:
    """The inbox routes. Remembers the names of recent drops, so that one being validated is not called unknown."""

    def __init__(self, web: WebContext) -> None:
        self._web, self._paths, self._spool = web, web.paths, Spool(web.paths)
        self._dropped: OrderedDict[str, None] = OrderedDict()
        sweep(web.paths)

    async def drop(self, request: Request) -> Response:
        """Take one file. Answers 202 before it is validated: GET /api/inbox/{drop} tells what became of it."""
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise UsageError(detail="Send multipart/form-data with a part named `file`.")
        self._check_room(int(request.headers.get("content-length", "0")))
        folder = self._paths.inbox / f"{PREFIX}{os.getpid()}-{os.urandom(8).hex()}"
        try:
            folder.mkdir(parents=True)
            form = await self._receive(request, folder / "file", boundary)
            name = await to_thread.run_sync(self._publish, folder / "file", form)
        except ClientDisconnect as error:
            raise UsageError(detail="The body ended before it was whole; nothing was kept.") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._dropped[name] = None
        while len(self._dropped) > MOST_NAMES:
            self._dropped.popitem(last=False)
        self._web.log.info("took %s from the network", name)
        return reply(DropTaken(drop=name), HTTPStatus.ACCEPTED)

    def _check_room(self, expected: int) -> None:
        free = shutil.disk_usage(self._paths.queue).free
        needed = expected + self._web.floor_bytes
        if free < needed:
            raise DiskLow(free=free, path=str(self._paths.queue), floor=needed)

    async def _receive(self, request: Request, path: Path, boundary: bytes) -> Form:
        with path.open("xb") as file:
            form, held = Form(boundary, file), bytearray()
            async for chunk in request.stream():
                held += chunk
                if len(held) >= _BLOCK:
                    await to_thread.run_sync(form.feed, bytes(held))
                    held.clear()
            await to_thread.run_sync(form.feed, bytes(held))
        if not form.is_whole or form.filename is None:
            raise UsageError(detail="The body ends before its last part, or has no part named `file` with a file name.")
        if form.sidecar is not None:
            decode_sidecar(form.sidecar)
        return form

    def _publish(self, path: Path, form: Form) -> str:
        """Flush the file and rename it to its name, or to a prefixed one where that name would be ambiguous."""
        OPS.fsync(path)
        wanted = check_name(form.filename or "")
        name = wanted if self._is_free(wanted) else _prefixed(wanted)
        while True:
            try:
                self._place(path, name, form.sidecar)
                return name
            except AlreadyExists:
                name = _prefixed(wanted)

    def _place(self, path: Path, name: str, sidecar: bytes | None) -> None:
        target = self._paths.inbox / name
        if sidecar is None:
            move(path, target)
            return
        beside, own = target.with_name(name + SIDECAR_ENDING), path.with_name("sidecar")
        own.unlink(missing_ok=True)
        OPS.write_new(own, sidecar)
        OPS.fsync(own)
        move(own, beside)
        try:
            move(path, target)
        except AlreadyExists:
            beside.unlink(missing_ok=True)
            raise

    def _is_free(self, name: str) -> bool:
        return not any(path.exists() for path in self._waiting(name)) and name not in self._dropped and not self._jobs(name)

    def _waiting(self, name: str) -> list[Path]:
        inbox = self._paths.inbox
        return [inbox / name, inbox / (name + SIDECAR_ENDING), inbox / "high" / name, inbox / "low" / name]

    def _jobs(self, name: str) -> list[str]:
        """Give the jobs whose ids say that they may come from a drop of this name."""
        ending = f"-{slug(stem(name))}"
        return [job for state in STATES for job in self._spool.list(state) if job.endswith(ending)]

    def receipt(self, drop: str) -> Response:
        """Say what became of a drop: waiting in the inbox, being validated, or a job in some state."""
        found = receipt(self._paths, drop) if is_plain(drop) else None
        if found is None and drop in self._dropped:  # taken out of the inbox a moment ago
            found = Receipt(drop=drop, state="validating")
        if found is None:
            raise NotFound(kind="drop", name=drop, known="neither in the inbox nor a job; GET /api/queue lists the jobs")
        return reply(found)


def decode_sidecar(data: bytes) -> Sidecar:
    """Parse an uploaded sidecar. Raises UsageError."""
    try:
        return decode_strict(Sidecar, data, "the sidecar")
    except InvalidData as error:
        raise UsageError(detail=str(error)) from error


def _prefixed(name: str) -> str:
    """Give a name that no other drop has; the prefix comes first because a job's id keeps only the start of a long name."""
    return f"{os.urandom(4).hex()}-{name}"


def sweep(paths: Paths) -> None:
    """Remove the unfinished uploads of web processes that are gone."""
    for path in paths.inbox.glob(f"{PREFIX}*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and int(owner) != os.getpid() and start_ticks(int(owner)) is None:
            shutil.rmtree(path, ignore_errors=True)
