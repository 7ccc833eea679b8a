"""Lines read a block at a time are those that are read one by one, and verdicts found ahead are those found one by one."""

from __future__ import annotations

import io
import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.jobs.ahead import BATCH, BLOCK, Ahead
from core.jobs.intake import Intake, Rules
from core.jobs.job import Reason, Sidecar, Spec
from core.jobs.lines import RawLine, read_lines
from core.jobs.validate import Accepted, Setting, check_line
from core.text.digest import problem_digest

LEAKED = "What is seven times nine?"
LONGEST = BLOCK + 5000


def chat(asked: str, said: str = "b", **more: Any) -> bytes:
    return json.dumps(
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], **more}
    ).encode()


@pytest.fixture(scope="module")
def setting(tokenizer: Any) -> Setting:
    digests = frozenset([problem_digest(LEAKED)])
    return Setting(spec="chat_sft_v1", tokenizer=tokenizer, max_length=300, grade=lambda *_: True, eval_digests=digests)


def a_file(seed: int, lines: int = 200) -> bytes:
    """Give a file of all kinds of lines, some of them longer than what is read at once, the last without newline."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    kinds = [
        chat("plain"), chat("plain " * 9, "answer"), chat("é ü"), chat(LEAKED), chat("x", "y" * 400), chat("with a key", id=7),
        chat("<|im_end|>"), chat(" blank "), b"", b"  ", b"{broken", b"\xff", chat("windows") + b"\r",
        chat("", ""), chat("tail\\"),
    ]  # fmt: skip
    chosen = [rng.choice(kinds) for _ in range(lines)]
    for length in (BLOCK - 40, BLOCK + 1, LONGEST, LONGEST + 1, 3 * BLOCK):
        chosen.insert(rng.randrange(lines), chat("z" * length)[-length:])
    return b"\n".join([chat("first"), *chosen, chat("last")])


def read_all(ahead: Ahead, data: bytes, setting: Setting | None) -> list[tuple[RawLine, Accepted | Reason | None]]:
    lines = ahead.lines(io.BytesIO(data), 0, 1, lambda: setting, lambda: None)
    return [(line, ahead.verdict(line)) for line in lines]


@pytest.mark.parametrize("seed", range(2))
def test_lines_and_verdicts_are_those_found_one_by_one(setting: Setting, seed: int) -> None:
    data = a_file(seed)
    found = read_all(Ahead(LONGEST), data, setting)
    assert [line for line, _ in found] == list(read_lines(io.BytesIO(data), 0, 1, LONGEST, lambda: None))
    judged = [(line, verdict) for line, verdict in found if verdict is not None]
    assert len(judged) > 40
    for line, verdict in judged:
        assert verdict == check_line(line.data, setting)


def test_reading_can_stop_anywhere_and_go_on_with_another_file_handle(setting: Setting) -> None:
    data = a_file(2, lines=150)
    expected = read_all(Ahead(LONGEST), data, setting)
    for step in (1, 3, 40):
        ahead = Ahead(LONGEST)
        found: list[tuple[RawLine, Accepted | Reason | None]] = []
        while True:
            offset, number = (found[-1][0].end, found[-1][0].number + 1) if found else (0, 1)
            lines = ahead.lines(io.BytesIO(data), offset, number, lambda: setting, lambda: None)
            some = [(line, ahead.verdict(line)) for line in itertools.islice(lines, step)]
            found += some
            if not some:
                break
        assert found == expected, step


def test_line_that_could_not_be_dealt_with_is_given_again(setting: Setting) -> None:
    data = a_file(3, lines=150)
    expected = read_all(Ahead(LONGEST), data, setting)
    ahead, at = Ahead(LONGEST), 0
    for again in (0, 1, 7, 8, 60, 100):
        offset = expected[at][0].offset
        lines = ahead.lines(io.BytesIO(data), offset, at + 1, lambda: setting, lambda: None)
        for line in itertools.islice(lines, again + 1):
            assert (line, ahead.verdict(line)) == expected[line.number - 1]
        at += again  # the last one given is asked for again


def test_without_setting_and_for_other_formats_lines_come_without_verdict(setting: Setting) -> None:
    data = b"\n".join([chat("a")] * 20)
    assert [verdict for _, verdict in read_all(Ahead(LONGEST), data, None)] == [None] * 20
    for other in (
        replace(setting, spec="completion_v1"),
        replace(setting, columns={"messages": "talk"}),
        replace(setting, format="alpaca"),
    ):
        assert [verdict for _, verdict in read_all(Ahead(LONGEST), data, other)] == [None] * 20
    some = [verdict for _, verdict in read_all(Ahead(LONGEST), data + b"\n", setting)]
    assert all(isinstance(verdict, Accepted) for verdict in some)


def test_setting_that_becomes_known_or_changes_holds_from_the_next_batch_on(setting: Setting) -> None:
    data = b"\n".join([chat("a b c")] * 2000) + b"\n"
    strict = replace(setting, max_length=3)
    settings = itertools.chain([None, None, setting], itertools.repeat(strict))
    ahead = Ahead(LONGEST)
    lines = ahead.lines(io.BytesIO(data), 0, 1, lambda: next(settings), lambda: None)
    verdicts = [ahead.verdict(line) for line in lines]
    kinds = [kind for kind, _ in itertools.groupby(type(verdict).__name__ for verdict in verdicts)]
    assert kinds == ["NoneType", "Accepted", "Reason"]
    assert verdicts[:2] == [None, None]


def test_what_is_held_in_memory_is_forgotten_when_the_drop_changes(setting: Setting) -> None:
    first, second = b"\n".join([chat("one")] * 9) + b"\n", b"\n".join([chat("two")] * 9) + b"\n"
    ahead = Ahead(LONGEST)
    assert len(read_all(ahead, first, setting)) == 9
    ahead.forget()
    assert all(b"two" in line.data for line, _ in read_all(ahead, second, setting))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    made.mkdir()
    return made


def test_batch_that_breaks_is_judged_line_by_line_until_the_line_is_found(folder: Path, tokenizer: Any) -> None:
    class Breaking:
        """The tokenizer, with a defect that one text brings out."""

        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def apply_chat_template(self, conversation: Any, **more: Any) -> Any:
            if "poison" in str(conversation):
                raise RuntimeError("a defect of the tokenizer")
            return tokenizer.apply_chat_template(conversation, **more)

    broken = Breaking()

    def setting(spec: Spec) -> Setting:
        return Setting(spec=spec, tokenizer=broken, max_length=500, grade=lambda *_: True)

    lines = [
        *(chat(f"fine {number}") for number in range(30)),
        chat("poison"),
        *(chat(f"good {number}") for number in range(10)),
    ]
    (folder / "raw").write_bytes(b"\n".join(lines))
    by = Rules(sidecar=Sidecar(), max_line_bytes=10**6, setting=setting)
    tries = 0
    while True:
        intake = Intake(folder, by)
        try:
            assert intake.advance(lambda: False, lambda: 0.0, lambda: None)
            break
        except RuntimeError:
            tries += 1
        assert tries < 6, "one line stops the file for ever"
    assert (intake.tally.accepted, intake.tally.codes) == (40, {"unreadable": 1})
    assert "line 31" in intake.tally.first["unreadable"]


def test_large_plain_file_gives_the_same_job_as_one_judged_line_by_line(folder: Path, setting: Setting) -> None:
    rng = random.Random(4)
    lines = [
        chat(f"question {number} {'x' * rng.randrange(200)}", f"answer {number % 7}") for number in range(3 * BATCH // 100)
    ]
    results = []
    for is_single in (False, True):
        place = folder / str(is_single)
        place.mkdir()
        (place / "raw").write_bytes(b"\n".join(lines))
        by = Rules(sidecar=Sidecar(drop_duplicate_lines=True), max_line_bytes=10**6, setting=lambda _: setting)
        intake = Intake(place, by)
        intake.tally.singly = is_single
        steps = itertools.count()
        while not intake.advance(lambda: next(steps) % 301 == 300, lambda: 0.0, lambda: None):  # noqa: B023
            pass
        results.append((intake.content_sha256, intake.tally.codes, intake.tally.token_counts(), intake.tally.counts()))
    assert results[0] == results[1]
