"""What lines are checked against: every question of the committed suites is kept out, on the quick way through intake too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.config import WeaverConfig
from core.evals.line_checks import LineChecks
from core.evals.suite import load_frozen_prompts
from core.jobs.job import Sidecar
from core.jobs.quick import Setting, plain_lines
from core.paths import Paths
from trainer.tiny.tokenizer import save_tokenizer

COMMITTED = Path(__file__).parents[3] / "config" / "suites"
ASKED = (
    "How are you today?",
    "What is 2 + 2?",
    "0101 nand 0011",
    "join: hel lo wor",
    "reverse the word banana",
    "12 plus",
    "x",
)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    paths = Paths(tmp_path)
    shutil.copytree(COMMITTED, paths.suites)
    save_tokenizer(paths.model("tiny").checkpoint("checkpoint-0-20261120-2130"))
    return LineChecks(paths).setting(WeaverConfig(), "tiny", "chat_sft_v1", Sidecar())


def lines_asking(question: str) -> list[bytes]:
    """Give chat lines whose last question is this one, in both styles and with its blanks written in other ways."""
    talks = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": "0"}]
        for text in (question, question.replace(" ", "  "), question.replace(" ", "\n"), question.replace(" ", "\u00a0"))
    ]
    longer = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}, *talks[0]]
    values = [{"messages": talk} for talk in (*talks, longer)]
    return [json.dumps(value, separators=style).encode() for value in values for style in (None, (",", ":"))]


def plain(setting: Setting, lines: list[bytes]) -> list[bool]:
    by = plain_lines(setting)
    assert by is not None
    block = b"\n".join(lines) + b"\n"
    flags: list[bool] = by.find(block, len(block), 10**6)[1].tolist()
    return flags


def test_no_question_of_a_committed_suite_passes_the_quick_way(setting: Setting) -> None:
    prompts = load_frozen_prompts(COMMITTED)
    assert setting.eval_digests == prompts.keys()
    for prompt in prompts.values():
        assert not any(plain(setting, lines_asking(prompt))), prompt


def test_other_questions_pass_the_quick_way(setting: Setting) -> None:
    assert setting.eval_heads, "without them every question would be digested"
    for question in ASKED:
        flags = plain(setting, lines_asking(question))
        assert flags[:2] == [True, True] and flags[-2:] == [True, True], question
