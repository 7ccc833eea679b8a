"""Validation in slices: however often it is cut short, the result is the same, and nothing is held or lost."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import Unavailable
from core.jobs.intake import KEPT_BYTES, PATIENCE, Intake, Rules
from core.jobs.job import QuarantinedLine, Sidecar, Spec
from core.jobs.validate import Setting
from core.records import decode

LONGEST = 2000
LINES = 40


def chat(text: str, **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "b"}], **more}).encode()


def a_file(seed: int = 0) -> bytes:
    """Give a drop with good, blank, broken, long, repeated and foreign lines, the last without newline."""
    rng = random.Random(seed)
    kinds = [chat(f"question {number}") for number in range(20)]
    kinds += [
        b"",
        b"  ",
        b"{broken",
        b"\xff\xfe",
        b"x" * (LONGEST + 1),
        b'{"prompt": "a", "completion": "b"}',
        chat("repeated"),
    ]
    return b"\n".join(rng.choice(kinds) for _ in range(60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    made.mkdir()
    return made


def rules(tokenizer: Any, grade: Callable[..., bool] = lambda *_: True, **sidecar: Any) -> Rules:
    given = Sidecar(**sidecar)

    def setting(spec: Spec) -> Setting:
        return Setting(spec=spec, tokenizer=tokenizer, max_length=500, grade=grade, is_given=given.spec is not None)

    return Rules(sidecar=given, max_line_bytes=LONGEST, setting=setting)


def never() -> bool:
    return False


def results(folder: Path, intake: Intake) -> tuple[bytes, bytes, str, Any]:
    """Give everything that validation decided."""
    tally = intake.tally
    facts = (tally.counts(), tally.token_counts(), tally.codes, tally.blank, tally.refusal, tally.spec, tally.verdict(0.05))
    return (folder / "data.jsonl").read_bytes(), (folder / "quarantine.jsonl").read_bytes(), intake.content_sha256, facts


def in_one_go(folder: Path, data: bytes, by: Rules) -> tuple[bytes, bytes, str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / "raw").write_bytes(data)
    intake = Intake(folder, by)
    assert intake.advance(never, lambda: 0.0, lambda: None)
    return results(folder, intake)


def test_every_line_is_accounted_for_and_can_be_found_again(folder: Path, tokenizer: Any) -> None:
    data = a_file()
    accepted, quarantined, sha256, (counts, *_) = in_one_go(folder, data, rules(tokenizer))
    lines = [line for line in data.split(b"\n") if line.strip()]
    assert counts.dropped == len(lines) == counts.accepted + counts.rejected
    assert len(accepted.splitlines()) == counts.accepted
    assert sha256 == hashlib.sha256(accepted).hexdigest()
    for record in quarantined.splitlines():
        line = decode(QuarantinedLine, record, "quarantine")
        raw = base64.b64decode(line.raw_b64)
        assert raw == data.split(b"\n")[line.line - 1][: len(raw)]
        assert line.offset is not None and data[line.offset : line.offset + len(raw)] == raw


@pytest.mark.parametrize("is_remade", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_one_line_at_a_time_gives_the_same_as_one_go(folder: Path, tokenizer: Any, is_remade: bool, seed: int) -> None:
    data, by = a_file(seed), rules(tokenizer, drop_duplicate_lines=True)
    expected = in_one_go(folder.parent / "whole", data, by)
    (folder / "raw").write_bytes(data)
    intake = Intake(folder, by)
    slices = 1
    while not intake.advance(lambda: True, lambda: 0.0, lambda: None):
        slices += 1
        if is_remade:
            intake = Intake(folder, by)
    assert slices >= LINES
    assert results(folder, intake) == expected


@pytest.mark.parametrize("seed", range(4))
def test_kills_at_random_lines_change_no_result(folder: Path, tokenizer: Any, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    data, by = a_file(seed), rules(tokenizer)
    expected = in_one_go(folder.parent / "whole", data, by)
    (folder / "raw").write_bytes(data)
    kills = 0
    while True:
        intake = Intake(folder, by)
        lines = itertools.count()
        killed_at, seconds = rng.randrange(1, 25), itertools.count(step=0.11)

        def kill(lines: Any = lines, killed_at: int = killed_at) -> bool:
            if next(lines) == killed_at:
                raise KeyboardInterrupt
            return False

        try:
            assert intake.advance(kill, lambda seconds=seconds: next(seconds), lambda: None)  # type: ignore[misc]
            break
        except KeyboardInterrupt:
            kills += 1
            for name in ("data.jsonl", "quarantine.jsonl"):  # a kill may leave any torn tail behind the cursor
                with (folder / name).open("ab") as file:
                    file.write(b'{"torn' * 10_000)
    assert kills
    assert results(folder, intake) == expected


@pytest.mark.parametrize("name", ["data.jsonl", "quarantine.jsonl", "cursor.json"])
def test_power_cut_that_took_what_the_cursor_counts_on_starts_over(folder: Path, tokenizer: Any, name: str) -> None:
    data, by = a_file(), rules(tokenizer)
    expected = in_one_go(folder.parent / "whole", data, by)
    (folder / "raw").write_bytes(data)
    lines = itertools.count()
    assert not Intake(folder, by).advance(lambda: next(lines) == 25, lambda: 0.0, lambda: None)
    (folder / name).write_bytes(b"")
    intake = Intake(folder, by)
    assert intake.tally.offset == 0
    assert intake.advance(never, lambda: 0.0, lambda: None)
    assert results(folder, intake) == expected


def test_repeated_lines_are_left_out_only_when_the_sidecar_says_so(folder: Path, tokenizer: Any) -> None:
    data = b"\n".join([chat("one"), chat("two"), chat("one"), chat("one")])
    kept = in_one_go(folder, data, rules(tokenizer))
    assert kept[3][0].accepted == 4
    dropped = in_one_go(folder.parent / "other", data, rules(tokenizer, drop_duplicate_lines=True))
    counts = dropped[3][0]
    assert (counts.accepted, counts.duplicate, counts.rejected, counts.dropped) == (2, 2, 0, 4)
    reasons = [decode(QuarantinedLine, line, "q") for line in dropped[1].splitlines()]
    assert [(line.line, line.code) for line in reasons] == [(3, "duplicate"), (4, "duplicate")]
    assert "repeats line 1" in reasons[0].reason


def test_line_on_which_checking_breaks_is_left_out_after_three_tries_and_the_rest_goes_on(folder: Path, tokenizer: Any) -> None:
    def grade(skill: str, level: int, problem: str, answer: str) -> bool:
        if problem == "poison":
            raise RuntimeError("a defect of the grader")
        return True

    def line(problem: str) -> bytes:
        return chat(problem, skill="s", level=1, problem=problem, answer="b")

    problems = [*(f"fine {number}" for number in range(30)), "poison", *(f"good {number}" for number in range(10))]
    (folder / "raw").write_bytes(b"\n".join(line(problem) for problem in problems))
    by = rules(tokenizer, grade)
    for _ in range(PATIENCE):
        with pytest.raises(RuntimeError):
            Intake(folder, by).advance(never, lambda: 0.0, lambda: None)
    intake = Intake(folder, by)
    assert intake.advance(never, lambda: 0.0, lambda: None)
    assert (intake.tally.accepted, intake.tally.codes) == (40, {"unreadable": 1})
    assert "line 31" in intake.tally.first["unreadable"] and "broke 3 times" in intake.tally.first["unreadable"]


def test_waiting_for_the_tokenizer_loses_no_line_before_it(folder: Path, tokenizer: Any) -> None:
    by = rules(tokenizer)
    is_there = False

    def setting(spec: Spec) -> Setting:
        if not is_there:
            raise Unavailable(service="the base", url="models", detail="not built")
        return by.setting(spec)

    waiting = Rules(sidecar=by.sidecar, max_line_bytes=LONGEST, setting=setting)
    (folder / "raw").write_bytes(b"broken\n\n" + b"\n".join(chat(f"q {number}") for number in range(30)))
    intake = Intake(folder, waiting)
    for _ in range(3):
        with pytest.raises(Unavailable):
            intake.advance(never, lambda: 0.0, lambda: None)
    is_there = True
    assert intake.advance(never, lambda: 0.0, lambda: None)
    assert (intake.tally.accepted, intake.tally.codes, intake.tally.blank) == (30, {"not_json": 1}, 1)
    assert len((folder / "quarantine.jsonl").read_bytes().splitlines()) == 1


def test_first_line_that_can_be_read_decides_the_format(folder: Path, tokenizer: Any) -> None:
    data = b"\n".join([b"broken", b"[1]", b'{"prompt": "a", "completion": "b"}', chat("x")])
    _, quarantined, _, (counts, *_) = in_one_go(folder, data, rules(tokenizer))
    assert counts.accepted == 1
    codes = [decode(QuarantinedLine, line, "q").code for line in quarantined.splitlines()]
    assert codes == ["not_json", "wrong_spec", "wrong_spec"]


def test_file_refused_as_a_whole_has_its_lines_counted(folder: Path, tokenizer: Any) -> None:
    data = b"\n".join([b'{"chosen": "a", "rejected": "b"}'] * 7 + [b"", b"  "])
    *_, (counts, _, _, blank, refusal, spec, verdict) = in_one_go(folder, data, rules(tokenizer))
    assert (counts.dropped, counts.accepted, counts.rejected, blank) == (7, 0, 7, 2)
    assert refusal == verdict and refusal.code == "preference_data" and spec is None


def test_very_long_refused_line_is_kept_in_part_and_says_where_the_whole_is(folder: Path, tokenizer: Any) -> None:
    long = b"{" + b"x" * (KEPT_BYTES + 10)
    by = rules(tokenizer)
    wide = Rules(sidecar=by.sidecar, max_line_bytes=10**6, setting=by.setting)
    (folder / "raw").write_bytes(chat("a") + b"\n" + long)
    intake = Intake(folder, wide)
    assert intake.advance(never, lambda: 0.0, lambda: None)
    assert intake.tally.needs_raw
    line = decode(QuarantinedLine, (folder / "quarantine.jsonl").read_bytes(), "q")
    assert base64.b64decode(line.raw_b64) == long[:KEPT_BYTES]
    assert f"of {len(long)} bytes" in line.reason and "raw in this folder" in line.reason


def test_drop_that_is_no_plain_file_after_all_is_never_read(folder: Path, tokenizer: Any) -> None:
    (folder / "raw").symlink_to("/etc/hostname")
    intake = Intake(folder, rules(tokenizer))
    assert intake.advance(never, lambda: 0.0, lambda: None)
    assert intake.tally.refusal is not None and intake.tally.refusal.code == "unreadable"
