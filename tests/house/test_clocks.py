"""The wall clock is asked in one place, so that whoever sets it, a test or a drill, sets it for everything (I13)."""

from __future__ import annotations

import re

import pytest

from tests.house.tree import text_of, tracked

ASKED = re.compile(r"\bdatetime\.(now|utcnow|today)\(|\btime\.(time|time_ns|gmtime|localtime)\(\)")
ALLOWED = {
    "core/clock.py": "the place",
    "core/accounting/files.py": "the age of files, by the times that the machine gave them",
    "core/accounting/repair.py": "the same",
    "weaver/mend.py": "the same",
    "weaver/outputs.py": "the same",
    "trainer/serve/openai_answers.py": "a number in the OpenAI API that nobody computes with",
}


def test_only_the_clock_asks_the_machine_what_time_it_is() -> None:
    names = [name for name in tracked() if re.match(r"(core|daemons|trainer|weaver)/.*\.py$", name)]
    assert len(names) > 200
    asking = {name for name in names if ASKED.search(text_of(name))}
    assert asking == set(ALLOWED)


@pytest.mark.parametrize("line", ["at = datetime.now(UTC)", "now_s = time.time()", "time.localtime()"])
def test_asking_is_found(line: str) -> None:
    assert ASKED.search(line)


@pytest.mark.parametrize("line", ["SystemClock().now()", "time.monotonic()", "time.localtime(stamp)"])
def test_other_lines_are_fine(line: str) -> None:
    assert not ASKED.search(line)
