"""Every code of the intake, by the file that brings it about and the sentence that a person reads then.

A code that the code gives and this table does not hold fails the test; so does an entry that nothing gives any more.
"""

from __future__ import annotations

import ast
import gzip
import json
from dataclasses import dataclass
from typing import Any

import pytest

from core.evals.suite import load_suites
from tests.core.jobs.unpack.unpacking import packed
from tests.daemons.inbox_builder import InboxHome, chat, good, jsonl
from tests.daemons.test_watch_inbox_formats import one
from tests.fakes import ROOT

CONTRACT = """not_json not_utf8 empty_file line_too_long too_big unpack_ratio not_a_regular_file unreadable unknown_ending
unknown_keys wrong_spec bad_role empty_content no_assistant nothing_to_train over_length control_text preference_data
text_needs_opt_in eval_leak wrong_answer duplicate expired removed"""
BY_HAND = ("eval_leak", "expired", "removed", "not_exact")
"""Codes with a test of their own: of what was queued already, of a suite, and of a tokenizer that ours is not."""


@dataclass(frozen=True)
class Case:
    """A file, and the sentence that says what to do."""

    name: str
    content: bytes
    says: str
    sidecar: dict[str, Any] | None = None


def line(*messages: tuple[str, Any], **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": said} for role, said in messages], **more}).encode()


ASKED, SAID = ("user", "a"), ("assistant", "b")
SYLLO = {"skill": "binary", "level": 1, "problem": "What is 1 in binary?", "answer": "no number"}
CASES = {
    "not_json": Case("a.jsonl", b"hello\n", "the line is not JSON"),
    "not_utf8": Case("a.csv", "prompt,completion\na,b\n".encode("utf-16"), "save it as UTF-8"),
    "empty_file": Case("a.json", b"[]", "the array is empty; expected an array of objects"),
    "line_too_long": Case("a.jsonl", b'{"prompt": "' + b"x" * 2000 + b'"}\n', "1000 are allowed; split it"),
    "too_big": Case("a.json", b"[" + b" " * 5000 + b"]", "write it as .jsonl, one object a line"),
    "unpack_ratio": Case("a.jsonl.gz", gzip.compress(bytes(2**22)), "a file made to fill the disk. If it is none"),
    "not_a_regular_file": Case("a.jsonl/inner", b"", "this is a folder; drop plain files, one"),
    "unreadable": Case("a.jsonl.zst", packed(b"{}\n" * 99, ".zst")[:-4], "ends in the middle: its end is missing. Copy"),
    "unknown_ending": Case("a.xlsx", b"PK", "expected a name that ends in .jsonl, .json, .csv, .parquet, or in one"),
    "unknown_keys": Case("a.jsonl", b'{"q": "a", "a": "b"}\n', "Write beside the file, as <its name>.meta.json: {"),
    "wrong_spec": Case("a.jsonl", b"[1]\n", "the line is a list; expected one JSON object a line"),
    "bad_role": Case("a.jsonl", line(("human", "a"), SAID), "message 1 has the role 'human'; known: system, developer"),
    "empty_content": Case("a.jsonl", line(ASKED, ("assistant", " ")), "message 2 (assistant) is empty; expected text"),
    "no_assistant": Case("a.jsonl", line(ASKED), "no message has the role assistant"),
    "nothing_to_train": Case(
        "a.jsonl", b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}',
        "weight 0",
    ),
    "over_length": Case("a.jsonl", line(ASKED, ("assistant", "y" * 1100)), "1024 are allowed"),
    "control_text": Case("a.jsonl", line(("user", "<|im_end|>"), SAID), "a text that does could forge a turn. Write"),
    "preference_data": Case("a.csv", b"prompt,completion,label\na,b,True\n", "would teach the bad ones too. Keep only the"),
    "text_needs_opt_in": Case("a.jsonl", b'{"text": "a"}\n', '{"schema": "weaver.sidecar/1", "spec": "text_v1"} and drop it'),
    "wrong_answer": Case("a.jsonl", line(ASKED, SAID, **SYLLO), "it cannot be graded"),
    "duplicate": Case("a.jsonl", jsonl(good(3)).encode(), "to train them again, drop the file with"),
}  # fmt: skip


def given_codes() -> set[str]:
    """Give every code that some module of core writes into a reason, a refused line or an attempt."""
    found: set[str] = set()
    for path in (ROOT / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = [key.value for key in node.keywords if key.arg == "code"]
                given += node.args[:1] if ast.unparse(node.func) == "output.refuse" else []
                found |= {str(value.value) for value in given if isinstance(value, ast.Constant)}
    return found


def test_every_code_has_an_entry() -> None:
    entries = {*CASES, *BY_HAND}
    assert entries >= set(CONTRACT.split())
    assert given_codes() <= entries, "write the file that brings it about, and the sentence, into CASES"
    assert entries <= {*given_codes(), *CONTRACT.split()}, "nothing gives these codes any more"


@pytest.mark.parametrize("code", CASES)
def test_code_comes_with_its_sentence(inbox: InboxHome, code: str) -> None:
    case = CASES[code]
    inbox.set_intake(max_line_bytes=1000 if code == "line_too_long" else 2**20, max_json_bytes=4096)
    if code == "duplicate":
        one(inbox, "first.jsonl", case.content)
    name = case.name
    if "/" in name:
        name = name.partition("/")[0]
        (inbox.paths.inbox / name).mkdir()
    job = one(inbox, name, case.content, case.sidecar) if name == case.name else one_there(inbox, name)
    assert job.reason is not None and job.reason.code == code, job.reason
    assert case.says in job.reason.message, job.reason.message
    assert inbox.spool.find(job.id) == "rejected"


def one_there(inbox: InboxHome, name: str) -> Any:
    """Give the job of what lies in the inbox already."""
    inbox.settle()
    return inbox.jobs()[name]


def test_question_of_a_suite_is_an_eval_leak(inbox: InboxHome) -> None:
    item = next(iter(load_suites(inbox.paths.suites).values())).items[0]
    job = one(inbox, "a.csv", f'prompt,completion\n"{item.prompt}","{item.answer}"\n'.encode())
    assert job.reason is not None and job.reason.code == "eval_leak"
    assert "examinations are measured, never trained on" in job.reason.message


@pytest.mark.parametrize("code", ["removed", "expired"])
def test_queued_job_that_is_taken_out_says_why_and_by_whom(inbox: InboxHome, code: str) -> None:
    job = one(inbox, "a.jsonl", jsonl([chat("a", "b")]).encode())
    by = "anna" if code == "removed" else "train_next"
    if code == "removed":
        inbox.spool.remove(job.id, by, "2026-11-20T21:30:00.000Z")
    else:
        inbox.spool.expire(job.id, by, "2026-11-20T21:30:00.000Z", "made for an earlier checkpoint")
    assert inbox.spool.find(job.id) == "rejected"
    lines = (inbox.spool.folder(job.id) / "attempts.jsonl").read_bytes().splitlines()
    end = json.loads(lines[-1])
    assert (end["event"], end["outcome"], end["by"]) == ("finished", code, by)
