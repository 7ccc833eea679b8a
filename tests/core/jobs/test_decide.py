"""Deciding a file's format, and reasons that contain the sidecar to write, for the public files that people have."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from core.jobs.conversions import to_line
from core.jobs.decide import decide_format
from core.jobs.formats import DropRefused, map_columns
from core.jobs.job import Sidecar
from core.records import decode_strict

MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
GSM8K = {"question": "How many?", "answer": "3\n#### 3"}
DOLLY = {"instruction": "When?", "context": "It was 1999.", "response": "In 1999.", "category": "closed_qa"}
ORCA = {"id": "flan.1", "system_prompt": "Be brief.", "question": "Why?", "response": "Because."}
LMSYS = {"conversation_id": "1", "conversation": MESSAGES, "turn": 1}
SHAREGPT_ELSEWHERE = {"dialogue": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}


def suggested(error: DropRefused) -> Sidecar:
    """Give the sidecar that a reason tells a person to write."""
    text = re.search(r"\{.*\}", error.detail[error.detail.index("meta.json") :])
    assert text, error.detail
    return decode_strict(Sidecar, text[0].encode(), "the suggestion")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (GSM8K, {"prompt": "question", "completion": "answer"}),
        ({"answer": "b", "question": "a", "id": "7"}, {"prompt": "question", "completion": "answer"}),
        ({"Frage": "a", "Antwort": "b"}, {"prompt": "Frage", "completion": "Antwort"}),
        (DOLLY, {"instruction": "instruction", "input": "context", "output": "response"}),
        (ORCA, {"system": "system_prompt", "instruction": "question", "output": "response"}),
        (LMSYS, {"messages": "conversation"}),
        (SHAREGPT_ELSEWHERE, {"conversations": "dialogue"}),
        ({"Messages": MESSAGES}, {"messages": "Messages"}),
        ({"id": 3}, {"prompt": "<key>", "completion": "<key>"}),
    ],
)
def test_unknown_keys_name_the_sidecar_to_write(value: dict[str, Any], expected: dict[str, str]) -> None:
    with pytest.raises(DropRefused) as caught:
        decide_format(value, Sidecar())
    assert caught.value.code == "unknown_keys"
    assert suggested(caught.value).columns == expected
    assert all(key in caught.value.detail for key in value)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (GSM8K, ["How many?", "3\n#### 3"]),
        (DOLLY, ["When?\nIt was 1999.", "In 1999."]),
        (ORCA, ["Be brief.", "Why?", "Because."]),
        (LMSYS, ["a", "b"]),
        (SHAREGPT_ELSEWHERE, ["a", "b"]),
    ],
)
def test_suggested_sidecar_makes_the_file_readable(value: dict[str, Any], texts: list[str]) -> None:
    with pytest.raises(DropRefused) as caught:
        decide_format(value, Sidecar())
    sidecar = suggested(caught.value)
    columns = sidecar.columns or {}
    mapped = map_columns(value, columns)
    line = to_line(mapped, decide_format(mapped, sidecar).name, False, columns)
    assert [message["content"] for message in line.messages] == texts


def test_suggestion_names_the_columns_of_the_file_when_a_sidecar_maps_too_little() -> None:
    columns = {"prompt": "question"}
    with pytest.raises(DropRefused) as caught:
        decide_format(map_columns(GSM8K, columns), Sidecar(columns=columns))
    assert suggested(caught.value).columns == {"prompt": "question", "completion": "answer"}


def test_text_alone_needs_opt_in_and_the_reason_says_how() -> None:
    with pytest.raises(DropRefused) as caught:
        decide_format({"text": "a story"}, Sidecar())
    assert caught.value.code == "text_needs_opt_in"
    assert decide_format({"text": "a story"}, suggested(caught.value)).name == "text_v1"


def test_text_of_another_column_keeps_its_mapping_in_the_suggestion() -> None:
    with pytest.raises(DropRefused) as caught:
        decide_format({"text": "a story"}, Sidecar(columns={"text": "body"}))
    assert suggested(caught.value) == Sidecar(columns={"text": "body"}, spec="text_v1")


@pytest.mark.parametrize("spec", [None, "chat_sft_v1", "completion_v1"])
def test_preference_data_is_refused_even_when_the_sidecar_names_a_spec(spec: Any) -> None:
    with pytest.raises(DropRefused, match="would teach the bad ones") as caught:
        decide_format({"prompt": "a", "completion": "b", "messages": MESSAGES, "chosen": "x"}, Sidecar(spec=spec))
    assert caught.value.code == "preference_data"


@pytest.mark.parametrize(
    ("value", "spec", "expected"),
    [
        ({"messages": MESSAGES, "prompt": "a", "completion": "b"}, "completion_v1", "completion_v1"),
        ({"conversations": []}, "chat_sft_v1", "sharegpt"),
        ({"instruction": "a", "output": "b"}, "chat_sft_v1", "alpaca"),
        ({"question": "a"}, "chat_sft_v1", "chat_sft_v1"),
        ({"messages": MESSAGES, "text": "a"}, "text_v1", "text_v1"),
    ],
)
def test_named_spec_overrules_what_else_would_fit_first(value: dict[str, Any], spec: Any, expected: str) -> None:
    assert decide_format(value, Sidecar(spec=spec)).name == expected


def test_giant_keys_do_not_make_giant_reasons() -> None:
    with pytest.raises(DropRefused) as caught:
        decide_format({f"{number}{'k' * 10**5}": 1 for number in range(100)}, Sidecar())
    assert len(caught.value.detail) < 2000
    json.dumps(caught.value.detail)
