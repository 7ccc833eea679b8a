"""The README's table of formats is the one that the code makes."""

from __future__ import annotations

import re

from core.jobs.formats import format_table
from core.jobs.inbox import KINDS, PACKINGS
from tests.house.tree import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MARKS = re.compile(r"<!-- formats: core\.jobs\.formats\.format_table\(\) -->\n(.*?)\n<!-- formats end -->", re.DOTALL)


def test_table_of_formats_is_that_of_the_code() -> None:
    (table,) = MARKS.findall(README)
    remedy = "put between the two comments what this prints: python -c 'from core.jobs.formats import *; print(format_table())'"
    assert table == format_table(), remedy


def test_every_ending_is_named() -> None:
    (sentence,) = re.findall(r"A file ends in .*?\.\s", README, re.DOTALL)
    assert re.findall(r"`(\.\w+)`", sentence) == [*KINDS, *PACKINGS]
