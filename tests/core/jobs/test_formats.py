"""Formats: the order of the contract, columns, and reasons that contain the sidecar to write."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from core.errors import LineRefused
from core.jobs.formats import DropRefused, decide_spec, detect, map_columns, to_line
from core.jobs.job import Sidecar
from core.records import decode_strict

MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
SYLLO = {"messages": MESSAGES, "skill": "binary", "level": 1, "problem": "a", "answer": "b"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"prompt": "a", "completion": "b", "label": True}, "preference"),
        ({"messages": MESSAGES, "chosen": "x"}, "preference"),
        ({"rejected": "x"}, "preference"),
        ({"kto_tag": 1}, "preference"),
        ({"prompt": "a", "completion": "b", "label": "sport"}, "completion_v1"),
        (SYLLO, "syllo_v1"),
        ({"messages": MESSAGES, "skill": "binary"}, "chat_sft_v1"),
        ({"messages": MESSAGES, "prompt": "a", "completion": "b"}, "chat_sft_v1"),
        ({"conversations": [], "text": "x"}, "sharegpt"),
        ({"instruction": "a", "output": "b", "prompt": "a", "completion": "b"}, "alpaca"),
        ({"prompt": "a", "completion": "b", "text": "c"}, "completion_v1"),
        ({"text": "c"}, "text_v1"),
        ({"prompt": "a"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_first_format_of_the_table_that_fits_is_found(value: dict[str, Any], expected: str) -> None:
    assert detect(value) == expected


def suggested(error: DropRefused) -> Sidecar:
    """Give the sidecar that a reason tells a person to write."""
    text = re.search(r"\{.*\}", error.detail[error.detail.index("meta.json") :])
    assert text, error.detail
    return decode_strict(Sidecar, text[0].encode(), "the suggestion")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"question": "a", "answer": "b"}, {"prompt": "question", "completion": "answer"}),
        ({"answer": "b", "question": "a", "id": "7"}, {"prompt": "question", "completion": "answer"}),
        ({"Frage": "a", "Antwort": "b"}, {"prompt": "Frage", "completion": "Antwort"}),
        ({"instruction": "a", "input": "", "output": "b"}, {"prompt": "instruction", "completion": "output"}),
        ({"id": 3}, {"prompt": "<key>", "completion": "<key>"}),
    ],
)
def test_unknown_keys_name_the_sidecar_to_write(value: dict[str, Any], expected: dict[str, str]) -> None:
    with pytest.raises(DropRefused) as caught:
        decide_spec(value, Sidecar())
    assert caught.value.code == "unknown_keys"
    assert suggested(caught.value).columns == expected
    assert all(key in caught.value.detail for key in value)


def test_suggested_sidecar_makes_the_file_readable() -> None:
    value = {"question": "a", "answer": "b"}
    with pytest.raises(DropRefused) as caught:
        decide_spec(value, Sidecar())
    sidecar = suggested(caught.value)
    assert decide_spec(map_columns(value, sidecar.columns or {}), sidecar) == "completion_v1"


def test_text_alone_needs_opt_in_and_the_reason_says_how() -> None:
    with pytest.raises(DropRefused) as caught:
        decide_spec({"text": "a story"}, Sidecar())
    assert caught.value.code == "text_needs_opt_in"
    assert decide_spec({"text": "a story"}, suggested(caught.value)) == "text_v1"


def test_alpaca_with_an_input_says_that_the_input_would_not_be_trained() -> None:
    with pytest.raises(DropRefused, match="input would be kept as metadata"):
        decide_spec({"instruction": "a", "input": "more", "output": "b"}, Sidecar())


def test_sharegpt_is_recognised_and_says_what_to_write() -> None:
    with pytest.raises(DropRefused, match="ShareGPT") as caught:
        decide_spec({"conversations": [{"from": "human", "value": "a"}]}, Sidecar())
    assert caught.value.code == "unknown_keys"
    assert '"messages": [' in caught.value.detail


@pytest.mark.parametrize("spec", [None, "chat_sft_v1", "completion_v1"])
def test_preference_data_is_refused_even_when_the_sidecar_names_a_spec(spec: Any) -> None:
    with pytest.raises(DropRefused) as caught:
        decide_spec({"prompt": "a", "completion": "b", "messages": MESSAGES, "chosen": "x"}, Sidecar(spec=spec))
    assert caught.value.code == "preference_data"


def test_columns_keep_every_other_key_even_one_of_the_same_name() -> None:
    value = {"question": "a", "answer": "b", "prompt": "old", "id": 7}
    mapped = map_columns(value, {"prompt": "question", "completion": "answer"})
    assert mapped == {"prompt": "a", "completion": "b", "prompt_": "old", "id": 7}


def test_line_without_a_mapped_column_names_it_and_what_it_has() -> None:
    with pytest.raises(LineRefused, match=r"'question'.*it has query, answer") as caught:
        map_columns({"query": "a", "answer": "b"}, {"prompt": "question"})
    assert caught.value.code == "wrong_spec"


def test_completion_becomes_one_user_and_one_assistant_turn_and_keeps_the_rest() -> None:
    line = to_line({"prompt": "a", "completion": "b", "id": 7}, "completion_v1", False)
    assert line.messages == MESSAGES
    assert line.meta == {"id": 7}


def test_raw_is_kept_for_completions_and_means_nothing_elsewhere() -> None:
    assert to_line({"prompt": "a", "completion": "b", "raw": True}, "completion_v1", False).meta == {"raw": True}
    assert to_line({"prompt": "a", "completion": "b", "raw": False}, "completion_v1", False).meta == {}
    assert to_line({"prompt": "a", "completion": "b", "raw": "yes"}, "completion_v1", False).meta == {"raw_": "yes"}
    assert to_line({"messages": MESSAGES, "raw": True}, "chat_sft_v1", False).meta == {"raw_": True}


def test_text_is_trained_raw() -> None:
    line = to_line({"text": " a story", "id": 1}, "text_v1", True)
    assert (line.messages, line.meta) == ([{"role": "assistant", "content": " a story"}], {"id": 1, "raw": True})


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ({"prompt": "a", "completion": "b"}, "chat_sft_v1"),
        ({"messages": MESSAGES}, "completion_v1"),
        ({"messages": MESSAGES}, "syllo_v1"),
        ({"messages": MESSAGES, "chosen": "x"}, "chat_sft_v1"),
        ({"question": "a"}, "chat_sft_v1"),
        ({"prompt": ["a"], "completion": "b"}, "completion_v1"),
        ({"prompt": "a", "completion": None}, "completion_v1"),
    ],
)
def test_line_of_another_format_is_refused(value: dict[str, Any], spec: Any) -> None:
    with pytest.raises(LineRefused) as caught:
        to_line(value, spec, False)
    assert caught.value.code == "wrong_spec"


def test_syllo_line_in_a_chat_file_is_a_chat_line() -> None:
    assert to_line(SYLLO, "chat_sft_v1", False).messages == MESSAGES


def test_named_spec_overrules_what_else_would_fit_first() -> None:
    value = {"messages": MESSAGES, "prompt": "a", "completion": "b"}
    assert decide_spec(value, Sidecar(spec="completion_v1")) == "completion_v1"
    assert to_line(value, "completion_v1", True).meta == {"messages": MESSAGES}


def test_giant_keys_do_not_make_giant_reasons() -> None:
    with pytest.raises(DropRefused) as caught:
        decide_spec({f"{number}{'k' * 10**5}": 1 for number in range(100)}, Sidecar())
    assert len(caught.value.detail) < 2000
    json.dumps(caught.value.detail)
