"""--json of every verb: one document on stdout, of the record type that weaver/cli/schemas.py names for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.records import decode_strict, schema_of
from tests.weaver.cli.command import weaver
from tests.weaver.cli.lived_in import LivedIn, lived_in
from tests.weaver.cli.tree import verbs
from weaver.cli.schemas import OUTPUTS, fields, output_types

READING: dict[str, list[list[str]]] = {
    "status": [[]],
    "logs": [[], ["web", "--out"]],
    "audit": [[]],
    "version": [[]],
    "ckpt ls": [[], ["tiny"]],
    "ckpt show": [["{checkpoint}"]],
    "ckpt verify": [[], ["{checkpoint}"]],
    "ckpt best": [[]],
    "config schema": [[], ["weaver.yaml"]],
    "config show": [[], ["--origin"], ["queue.retries"]],
    "config validate": [[]],
    "data check": [["{file}"]],
    "data preview": [["{file}"]],
    "data stats": [["{file}"]],
    "deploy history": [[]],
    "doctor": [[]],
    "events": [[], ["deployed"]],
    "trace": [["{completed}:1"]],
    "why": [["{job}"], ["{checkpoint}"], ["web"]],
    "queue ls": [[], ["--state", "rejected"], ["--limit", "0"]],
    "queue show": [["{job}"], ["{rejected}"]],
    "queue why": [["{job}"], ["{rejected}"], ["{failed}"], ["{completed}"]],
    "queue wait": [["{completed}"], ["{rejected}"]],
}
"""Verbs that change nothing, each with its command lines in a lived-in home."""

ACTING = {
    "ckpt rm": ["tiny@3", "--dry-run"],
    "data convert": ["{file}", "-o", "{file}.out"],
    "drill": ["--dry-run"],
    "mend": ["--dry-run"],
    "queue add": ["{file}"],
    "queue pause": [],
    "queue promote": ["{job}"],
    "queue resume": [],
    "queue retry": ["{failed}"],
    "queue rm": ["{high}"],
    "queue skip": [],
    "queue stop": [],
    "suites build": [],
    **dict.fromkeys((
        "chat", "ckpt pin", "ckpt reset", "ckpt unpin", "completion", "deploy now", "deploy rollback", "down", "open",
        "restart", "up",
    )),
}  # fmt: skip
"""Verbs that do something, each with a command line where it has --json: in a home in which nothing runs."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> LivedIn:
    return lived_in(tmp_path_factory.mktemp("json") / "home")


def has_json(path: str) -> bool:
    return any("--json" in param.opts for param in verbs()[path][0].params)


def test_every_verb_reads_or_acts_and_all_that_read_have_json() -> None:
    assert not READING.keys() & ACTING.keys()
    assert READING.keys() | ACTING.keys() == verbs().keys(), "put a new verb into READING or ACTING"
    assert [path for path in READING if not has_json(path)] == []
    assert {path for path, arguments in ACTING.items() if arguments is not None} == {path for path in ACTING if has_json(path)}


def test_every_verb_with_json_has_its_record_type_and_no_two_types_share_a_schema() -> None:
    assert {path for path in verbs() if has_json(path)} == OUTPUTS.keys()
    kinds = {kind for path in OUTPUTS for kind in output_types(path)}
    assert len({schema_of(kind) for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert re.fullmatch(r"weaver\.[a-z-]+/\d+", schema_of(kind))
        assert fields(kind)[0] == ("schema", f'"{schema_of(kind)}"')


def is_one_document_of_its_type(path: str, stdout: str) -> None:
    """Assert that stdout is exactly one JSON document and decodes strictly into the type registered for the verb."""
    kind = output_types(path)[0]
    document, end = json.JSONDecoder().raw_decode(stdout)
    assert stdout[end:] == "\n"
    assert document["schema"] == schema_of(kind)
    decode_strict(kind, stdout.encode(), path)


@pytest.mark.parametrize("path", sorted(READING))
def test_reading_verb_prints_one_document_of_its_type_and_nothing_else(home: LivedIn, path: str) -> None:
    for arguments in READING[path]:
        done = weaver(home.paths.home, *path.split(), *home.fill(arguments), "--json")
        assert done.returncode in (0, 1, 4, 6), done.stderr  # 1 and 6: what it found is not good
        assert done.stderr == ""
        is_one_document_of_its_type(path, done.stdout)


@pytest.mark.parametrize("path", sorted(path for path, arguments in ACTING.items() if arguments is not None))
def test_acting_verb_prints_one_document_of_its_type(tmp_path: Path, path: str) -> None:
    home = lived_in(tmp_path / "home", runs=False)
    done = weaver(home.paths.home, *path.split(), *home.fill(ACTING[path] or []), "--json")
    assert done.returncode == 0, done.stderr
    is_one_document_of_its_type(path, done.stdout)


def test_logs_followed_and_status_watched_print_one_document_a_line(home: LivedIn) -> None:
    """The types of the lines; that they come is tested with each verb."""
    assert [schema_of(kind) for kind in output_types("logs")] == ["weaver.logs/1", "weaver.log-line/1"]


def test_error_leaves_stdout_empty(home: LivedIn) -> None:
    for arguments in (["ckpt", "show", "nope"], ["logs", "nope"], ["status", "--bogus"]):
        done = weaver(home.paths.home, *arguments, "--json")
        assert done.stdout == ""
        assert done.stderr.startswith("weaver: ")
