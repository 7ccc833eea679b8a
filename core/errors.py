"""One tree of errors. The docstring is the message, facts are attributes; say what happened, was expected, and to do.

Every error a person can meet derives from WeaverError; the exit code of a command is the exit code of its error.
"""

from __future__ import annotations

from typing import ClassVar


class WeaverError(Exception):
    """Something went wrong: {detail}"""

    exit_code: ClassVar[int] = 1

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        for key, value in facts.items():
            setattr(self, key, value)
        super().__init__(self.message())

    def message(self) -> str:
        """Give the class docstring filled with the facts, as text that any terminal and record can hold."""
        text = (self.__doc__ or "").strip().format(**self.facts)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")  # a fact may be a file name that is not UTF-8


class UsageError(WeaverError):
    """{detail}"""

    exit_code = 2


class NotRunning(WeaverError):
    """Weaver is not running in {home}. Start it with ./scripts/start_all.sh."""

    exit_code = 3


class Degraded(WeaverError):
    """Weaver runs in {home}, but {detail}. See `weaver status` and `weaver logs`."""

    exit_code = 4


class StartFailed(WeaverError):
    """{program} did not start (exit code {code}): {detail}"""


class NotFound(WeaverError):
    """There is no {kind} named {name!r}. Known: {known}."""

    exit_code = 5


class Ambiguous(NotFound):
    """{name!r} fits {count} jobs: {known}. Give more of the one that is meant."""


class InvalidConfig(WeaverError):
    """{path}: {detail}"""

    exit_code = 6


class NoHome(WeaverError):
    """No home found: {detail}. A home has a config/hosts.json: set WEAVER_HOME to one, or go to its folder."""

    exit_code = 6


class InvalidData(WeaverError):
    """{where}: {detail}"""

    exit_code = 6


class CorruptRecord(InvalidData):
    """{where} is not a whole {schema} record: {detail}. It was left as it is."""


class NewerRecord(InvalidData):
    """{where} is a {found} record; this program knows {schema}. It was left alone: update Weaver."""


class Conflict(WeaverError):
    """{detail}"""

    exit_code = 7


class LockHeld(Conflict):
    """Another process holds {what}: {holder}. Stop it first, or leave it at work."""


class AlreadyExists(Conflict):
    """{path} already exists; nothing is ever overwritten by a move."""


class IllegalMove(Conflict):
    """Job {job} cannot go from {source} to {target}: {detail}"""


class Unavailable(WeaverError):
    """{service} does not answer at {url}: {detail}. It may be restarting; the next tick tries again."""

    exit_code = 8


class RemoteRefused(WeaverError):
    """{service} answered {status} to {url}: {detail}"""

    exit_code = 8


class TimedOut(WeaverError):
    """{what} did not happen within {seconds} s."""

    exit_code = 124


class PortInUse(WeaverError):
    """Port {port} of {service} is taken by {holder}. Stop that program or set {variable} to another port (0 = any)."""

    exit_code = 78


class KeyFileExposed(WeaverError):
    """{path} can be read by others (mode {mode:o}); keys must be 0600. Run: chmod 600 {path}"""

    exit_code = 78


class ManifestMismatch(InvalidData):
    """{where} does not match its MANIFEST.sha256: {detail}. The checkpoint is not used."""


class DiskLow(WeaverError):
    """Only {free} bytes are free on {path}, {floor} are needed. Free some space; work resumes by itself."""


class NoRoom(DiskLow):
    """Only {free} bytes are free on {path}, {floor} are needed. {advice}"""


class LineRefused(InvalidData):
    """{code}: {detail}"""

    code: str
    detail: str


class TemplateRefused(InvalidData):
    """The tokenizer in {where} cannot be trained with: {detail} Use a base whose chat template keeps the turns apart."""


class MaskCheckFailed(InvalidData):
    """Mask check {check} failed at line {line}: {detail}. Nothing was trained. The row, trained tokens in [[ ]]: {view}"""

    check: int
    line: int


class PackingRefused(InvalidData):
    """Packing does not keep examples apart: {detail}. Nothing was trained; set packing: off in config/training.yaml."""
