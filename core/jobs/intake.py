"""Validation of one taken drop, in slices: raw -> data.jsonl and quarantine.jsonl, resumable at any line.

Place in the flow: watch_inbox gives every drop in .building its slices of time; core/jobs/verdict makes the job of it.
Files written: data.jsonl, quarantine.jsonl, cursor.json in queue/.building/<id>/ (a private folder, so they are opened here).
Invariants: cursor.json never says more than the files hold; a kill costs about a second of work and changes no result; no line
is held in memory that is longer than the configured bound.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from core.errors import InvalidData, LineRefused, WeaverError
from core.files import OPS, Ops, replace_durable
from core.jobs.ahead import Ahead
from core.jobs.decide import decide_format
from core.jobs.formats import BY_NAME, DropRefused, Format, map_columns
from core.jobs.job import QuarantinedLine, Reason, Sidecar, Spec
from core.jobs.lines import RawLine
from core.jobs.tally import Tally
from core.jobs.unpack.order import REFUSED, Refused
from core.jobs.validate import Accepted, Setting, check_line, clipped, parse_line
from core.records import decode, encode, encode_pretty, read_if_there

SAVE_S = 1.0
KEPT_BYTES = 64 * 1024
PATIENCE = 3
WHOLE_FILE = ("preference_data",)
"""Codes of a line that refuse its whole file: where one line says that some answers are bad, others may be."""


@dataclass(frozen=True)
class Rules:
    """What a drop is validated by. setting gives the checks once the spec is known; it may raise Unavailable.

    file: in the drop's folder, read line by line; unit: what the person calls a line of it, not "line" when it was converted.
    """

    sidecar: Sidecar
    max_line_bytes: int
    setting: Callable[[Spec], Setting]
    file: str = "raw"
    unit: str = "line"


class Intake:
    """One drop being validated. Can be made again from its folder at any time: only the hashing is repeated."""

    def __init__(self, folder: Path, rules: Rules, ops: Ops = OPS) -> None:
        self.folder = folder
        self._rules = rules
        self._ops = ops
        self._checks: Setting | None = None
        self._ahead = Ahead(rules.max_line_bytes)
        self._data, self._quarantine = folder / "data.jsonl", folder / "quarantine.jsonl"
        self.tally = self._read_cursor()
        self._sha256, self._seen = self._hash_again()

    @property
    def content_sha256(self) -> str:
        """Give the digest of the canonical lines so far."""
        return self._sha256.hexdigest()

    def _read_cursor(self) -> Tally:
        try:
            tally = read_if_there(Tally, self.folder / "cursor.json") or Tally()
        except InvalidData:
            return Tally()
        is_backed = _size(self._data) >= tally.data_bytes and _size(self._quarantine) >= tally.quarantine_bytes
        return tally if is_backed else Tally()  # else a power cut took what the cursor counts on

    def start_over(self) -> None:
        """Forget everything: the drop has changed since it was taken."""
        (self.folder / "cursor.json").unlink(missing_ok=True)
        self.tally = Tally()
        self._ahead.forget()
        self._sha256, self._seen = self._hash_again()

    def advance(self, is_enough: Callable[[], bool], mono: Callable[[], float], beat: Callable[[], None]) -> bool:
        """Validate on until enough or the end; True at the end. At least one line is done each time.

        Raises Unavailable while the tokenizer is not there. After an OSError (nothing can be written) make the Intake again.
        """
        try:
            with self._files() as (raw, data, quarantine):
                saved = mono()
                for line in self._lines(raw, data, quarantine, beat):
                    self._take(line, data, quarantine)
                    enough = is_enough()
                    if enough or mono() - saved >= SAVE_S:
                        self._save(data, quarantine)
                        saved = mono()
                        beat()
                    if enough:
                        return False
                self._save(data, quarantine)
        except DropRefused as error:
            self.tally.refusal = clipped(error.code, error.detail)
        return True

    @contextmanager
    def _files(self) -> Iterator[tuple[BinaryIO, BinaryIO, BinaryIO]]:
        with ExitStack() as stack:
            raw = stack.enter_context(_open_raw(self.folder / self._rules.file))
            data = stack.enter_context(_open_at(self._data, self.tally.data_bytes))
            quarantine = stack.enter_context(_open_at(self._quarantine, self.tally.quarantine_bytes))
            yield raw, data, quarantine

    def _lines(self, raw: BinaryIO, data: BinaryIO, quarantine: BinaryIO, beat: Callable[[], None]) -> Iterator[RawLine]:
        """Read on where the tally stands. Raises DropRefused (unreadable) when the disk cannot."""
        tally = self.tally
        try:
            yield from self._ahead.lines(
                raw, tally.offset, tally.line + 1, lambda: None if tally.singly or tally.refusal else self._checks, beat
            )
        except OSError as error:
            raise DropRefused(code="unreadable", detail=f"the file cannot be read to its end: {error.strerror}") from error
        finally:
            if self._ahead.is_judging:  # it broke: one by one from here on, so that the line that breaks it is found
                tally.singly = True
                self._save(data, quarantine)

    def _save(self, data: BinaryIO, quarantine: BinaryIO) -> None:
        for file, path in ((data, self._data), (quarantine, self._quarantine)):
            file.flush()
            self._ops.fsync(path)
        self.tally.data_bytes, self.tally.quarantine_bytes = data.tell(), quarantine.tell()
        replace_durable(self.folder / "cursor.json", encode_pretty(self.tally), self._ops)

    def _take(self, line: RawLine, data: BinaryIO, quarantine: BinaryIO) -> None:
        """Accept, refuse or only count one line; what stops us on the way is raised with all earlier lines saved."""
        is_done = False
        try:
            found = self._look(line)
            is_done = True
        except (WeaverError, OSError):
            is_done = True
            self._save(data, quarantine)
            raise
        finally:
            if not is_done:  # checking itself broke: note where, so that one line cannot stop us for ever
                self.tally.failures = self.tally.failures + 1 if self.tally.failed_at == line.number else 1
                self.tally.failed_at = line.number
                self._save(data, quarantine)
        if isinstance(found, Accepted):
            data.write(found.data + b"\n")
            self._sha256.update(found.data + b"\n")
            self.tally.accept(found.longest, found.tokens)
        elif found is not None:
            quarantine.write(encode(self._quarantined(line, found)) + b"\n")
            self.tally.refuse(line.number, found, self._rules.unit)
        self.tally.line, self.tally.offset = line.number, line.end

    def _look(self, line: RawLine) -> Accepted | Reason | None:
        """Judge a line; None when it is blank or the whole file is refused already, which is counted here."""
        if line.length <= self._rules.max_line_bytes and line.is_blank:
            self.tally.blank += 1
            return None
        if self.tally.refusal is None:
            try:
                found = self._judge(line)
                if isinstance(found, Accepted):
                    return self._repeats(found) or found
                if found.code not in WHOLE_FILE:
                    return found
                self.tally.refusal = clipped(found.code, f"{self._rules.unit} {line.number}: {found.message}")
            except DropRefused as error:
                self.tally.refusal = clipped(error.code, error.detail)
        self.tally.rejected += 1
        return None

    def _judge(self, line: RawLine) -> Accepted | Reason:
        """Check one line; the first that can be read decides the spec. Raises DropRefused for the whole file."""
        if line.length > self._rules.max_line_bytes:
            most = self._rules.max_line_bytes
            return Reason(code="line_too_long", message=f"the line has {line.length} bytes; {most} are allowed; split it")
        if self.tally.failed_at == line.number and self.tally.failures >= PATIENCE:
            return Reason(
                code="unreadable",
                message=f"checking this line broke {PATIENCE} times, see logs/watch_inbox.jsonl; please report it",
            )
        refused = self._refused(line)
        if refused is not None:
            return clipped(refused.code, refused.reason)
        if self._checks is None:
            try:
                form = BY_NAME[self.tally.format] if self.tally.format else self._decide(line.data)
            except LineRefused as error:
                return clipped(error.code, error.detail)
            self._checks = replace(self._rules.setting(form.spec), format=form.name)
            self.tally.spec, self.tally.format = form.spec, form.name
        return self._ahead.verdict(line) or check_line(line.data, self._checks)

    def _decide(self, data: bytes) -> Format:
        sidecar = self._rules.sidecar
        return decide_format(map_columns(parse_line(data), sidecar.columns or {}), sidecar)

    def _refused(self, line: RawLine) -> Refused | None:
        """Give why a record could not be made a line, when the file was made of another one."""
        if self._rules.unit == "line" or not line.data.startswith(REFUSED):
            return None
        return decode(Refused, line.data.removeprefix(REFUSED), str(self.folder / self._rules.file))

    def _repeats(self, found: Accepted) -> Reason | None:
        """Say which line this one repeats, when the sidecar asks for repeated lines to be left out."""
        if not self._rules.sidecar.drop_duplicate_lines:
            return None
        number = self._seen.setdefault(_digest(found.data), self.tally.accepted + 1)
        if number > self.tally.accepted:
            return None
        return Reason(code="duplicate", message=f"the line repeats line {number} of data.jsonl; the sidecar leaves repeats out")

    def _quarantined(self, line: RawLine, reason: Reason) -> QuarantinedLine:
        """Make the record of a refused line. Of a very long one it has the beginning; then raw is kept beside it."""
        unit, message, refused = self._rules.unit, reason.message, self._refused(line)
        is_converted = unit != "line"
        if is_converted:
            message = f"{unit} {line.number}: {message}"
        if line.length > KEPT_BYTES:
            self.tally.needs_raw = True
            message += f" (the first {KEPT_BYTES} of {line.length} bytes are here, raw in this folder has the whole {unit})"
        raw = line.data[:KEPT_BYTES] if refused is None else refused.raw.encode()
        return QuarantinedLine(
            line=line.number, offset=None if is_converted else line.offset, code=reason.code, reason=message,
            raw_b64=base64.b64encode(raw).decode("ascii"),
        )  # fmt: skip

    def _hash_again(self) -> tuple[hashlib._Hash, dict[bytes, int]]:
        """Hash the lines that data.jsonl holds according to the cursor, and number them if repeats are left out."""
        sha256 = hashlib.sha256()
        seen: dict[bytes, int] = {}
        if self.tally.data_bytes == 0:
            return sha256, seen
        with self._data.open("rb") as file:
            if self._rules.sidecar.drop_duplicate_lines:
                for number in range(1, self.tally.accepted + 1):
                    line = file.readline()
                    sha256.update(line)
                    seen[_digest(line[:-1])] = number
            else:
                left = self.tally.data_bytes
                while block := file.read(min(left, 1 << 20)):
                    sha256.update(block)
                    left -= len(block)
        return sha256, seen


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _open_raw(path: Path) -> BinaryIO:
    """Open the drop for reading, never through a link and never waiting for a pipe. Raises DropRefused (unreadable)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DropRefused(code="unreadable", detail=f"the file cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DropRefused(code="not_a_regular_file", detail="this is no regular file; drop plain files")
    return os.fdopen(fd, "rb", buffering=1 << 20)


def _open_at(path: Path, size: int) -> BinaryIO:
    """Open a file of ours for appending, cut back to the size that the cursor vouches for."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")
    file.truncate(size)
    file.seek(size)
    return file
