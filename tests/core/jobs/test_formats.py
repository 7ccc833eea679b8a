"""Formats: the order of the contract, columns, and preference data under whatever disguise."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import LineRefused
from core.jobs.formats import FORMATS, TARGETS, detect, format_table, is_line, map_columns, trained_keys

MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
SYLLO = {"messages": MESSAGES, "skill": "binary", "level": 1, "problem": "a", "answer": "b"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"prompt": "a", "completion": "b", "label": True}, "preference"),
        ({"prompt": "a", "completion": "b", "label": "False"}, "preference"),
        ({"prompt": "a", "completion": "b", "Label": False}, "preference"),
        ({"messages": MESSAGES, "chosen": "x"}, "preference"),
        ({"Chosen": "x", "prompt": "a", "completion": "b"}, "preference"),
        ({"rejected": "x"}, "preference"),
        ({"kto_tag": 1}, "preference"),
        ({"prompt": "a", "completion": "b", "label": "sport"}, "completion_v1"),
        ({"prompt": "a", "completion": "b", "label": 1}, "completion_v1"),
        ({"prompt": "a", "completion": "b", "label": None}, "completion_v1"),
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


def test_mapped_columns_decide_even_where_another_format_would_come_first() -> None:
    value = map_columns({"messages": MESSAGES, "q": "a", "a": "b"}, {"prompt": "q", "completion": "a"})
    assert detect(value) == "chat_sft_v1"
    assert detect(value, {"prompt": "q", "completion": "a"}) == "completion_v1"


def test_columns_keep_every_other_key_even_one_of_the_same_name() -> None:
    value = {"question": "a", "answer": "b", "prompt": "old", "id": 7}
    mapped = map_columns(value, {"prompt": "question", "completion": "answer"})
    assert mapped == {"prompt": "a", "completion": "b", "prompt_": "old", "id": 7}


def test_line_without_a_mapped_column_names_it_and_what_it_has() -> None:
    with pytest.raises(LineRefused, match=r"'question'.*it has query, answer") as caught:
        map_columns({"query": "a", "answer": "b"}, {"prompt": "question"})
    assert caught.value.code == "wrong_spec"


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        ({"p": "a", "c": "b", "label": False}, {"prompt": "p", "completion": "c"}),
        ({"p": "a", "c": "b", "label": False}, {"prompt": "p", "completion": "c", "problem": "label"}),
        ({"p": "a", "chosen": "b", "rejected": "c"}, {"prompt": "p", "completion": "chosen", "problem": "rejected"}),
        ({"prompt": "a", "chosen": "b"}, {"completion": "chosen"}),
        ({"conversations": [], "kto_tag": True}, {"conversations": "conversations", "level": "kto_tag"}),
    ],
)
def test_preference_data_behind_a_mapping_is_still_recognised(value: dict[str, Any], columns: dict[str, str]) -> None:
    with pytest.raises(LineRefused, match="preference data") as caught:
        map_columns(value, columns)
    assert caught.value.code == "preference_data"


def test_columns_can_be_every_key_of_every_format() -> None:
    assert {"messages", "tools", "conversations", "instruction", "input", "history", "prompt", "text", "answer"} <= set(TARGETS)
    assert not {"chosen", "rejected", "label", "kto_tag"} & set(TARGETS)


@pytest.mark.parametrize(
    ("value", "columns", "expected"),
    [
        ({"messages": MESSAGES}, {}, True),
        ({"data": [{"prompt": "a"}]}, {}, False),
        ({"prompt": "a", "chosen": "b", "x": [{}]}, {}, True),
        ({"turns": MESSAGES}, {"messages": "turns"}, True),
        ({"data": [{"turns": MESSAGES}]}, {"messages": "turns"}, False),
    ],
)
def test_object_that_is_a_line_is_told_from_one_that_holds_lines(
    value: dict[str, Any], columns: dict[str, str], expected: bool
) -> None:
    assert is_line(value, columns) is expected


def test_keys_that_are_trained_are_named_as_the_table_names_them() -> None:
    shape = {"q": None, "a": None, "when": None}
    columns = {"prompt": "q", "completion": "a"}
    assert {"q", "a"} <= trained_keys(shape, columns) and "when" not in trained_keys(shape, columns)
    assert trained_keys(shape, {}) == frozenset()
    assert "messages" in trained_keys({"messages": None, "when": None}, {})


def test_table_names_every_format_in_the_order_in_which_they_are_tried() -> None:
    table = format_table()
    places = [table.index(form.line) for form in FORMATS]
    assert places == sorted(places) and table.index("chosen") < places[0]
