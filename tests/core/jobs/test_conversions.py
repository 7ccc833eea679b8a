"""Lines of every format, in the exact public forms of the field's tools, as canonical lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import LineRefused
from core.jobs.conversions import to_line
from core.jobs.job import Line
from core.jobs.spec import checked_messages, checked_tools

USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
MESSAGES = [USER, ASSISTANT]
SYLLO = {"messages": MESSAGES, "skill": "binary", "level": 1, "problem": "a", "answer": "b"}
WEATHER = {
    "name": "get_weather", "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}  # fmt: skip
TOOLS = [{"type": "function", "function": WEATHER}]


def said(line: Line) -> list[tuple[str, str]]:
    """Give role and content of every message, checked."""
    return [(message["role"], message["content"]) for message in checked_messages(line.messages, False)]


def test_completion_becomes_one_user_and_one_assistant_turn_and_keeps_the_rest() -> None:
    line = to_line({"prompt": "a", "completion": "b", "id": 7}, "completion_v1", False)
    assert (line.messages, line.meta) == (MESSAGES, {"id": 7})


def test_conversational_prompt_and_completion_of_trl_train_the_completion_only() -> None:
    prompt = [{"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "earlier"}, USER]
    line = to_line({"prompt": prompt, "completion": [ASSISTANT], "tools": TOOLS}, "completion_v1", False)
    assert said(line) == [("system", "s"), ("user", "a"), ("assistant", "earlier"), ("user", "a"), ("assistant", "b")]
    assert [message.get("weight") for message in line.messages] == [None, None, 0, None, None]
    assert line.tools == TOOLS


def test_raw_is_kept_for_completions_and_means_nothing_elsewhere() -> None:
    assert to_line({"prompt": "a", "completion": "b", "raw": True}, "completion_v1", False).meta == {"raw": True}
    assert to_line({"prompt": "a", "completion": "b", "raw": False}, "completion_v1", False).meta == {}
    assert to_line({"prompt": "a", "completion": "b", "raw": "yes"}, "completion_v1", False).meta == {"raw_": "yes"}
    assert to_line({"messages": MESSAGES, "raw": True}, "chat_sft_v1", False).meta == {"raw_": True}
    assert to_line({"instruction": "a", "output": "b", "raw": True}, "alpaca", False).meta == {"raw_": True}


def test_text_is_trained_raw() -> None:
    line = to_line({"text": " a story", "id": 1}, "text_v1", True)
    assert (line.messages, line.meta) == ([{"role": "assistant", "content": " a story"}], {"id": 1, "raw": True})


def test_openai_tool_file_keeps_calls_results_and_tools() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    messages = [
        {"role": "developer", "content": "Use tools."}, USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}, ASSISTANT,
    ]  # fmt: skip
    line = to_line({"messages": messages, "parallel_tool_calls": False, "tools": TOOLS}, "chat_sft_v1", False)
    checked = checked_messages(line.messages, False)
    assert checked[2] == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert checked[3] == {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}
    assert (line.tools, line.meta) == (TOOLS, {"parallel_tool_calls": False})


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS), json.dumps([WEATHER]), [WEATHER]])
def test_tools_as_text_or_without_their_type_take_the_openai_form(tools: Any) -> None:
    line = to_line({"messages": MESSAGES, "tools": tools}, "chat_sft_v1", False)
    assert checked_tools(line.tools) == TOOLS


@pytest.mark.parametrize("tools", [None, "", [], "[]"])
def test_no_tools_are_none_however_they_are_written(tools: Any) -> None:
    assert checked_tools(to_line({"messages": MESSAGES, "tools": tools}, "chat_sft_v1", False).tools) is None


@pytest.mark.parametrize("tools", ["get_weather", '{"name": "x"}', "[1]", 7])
def test_tools_that_are_none_are_refused(tools: Any) -> None:
    with pytest.raises(LineRefused, match="expected the OpenAI form"):
        checked_tools(to_line({"messages": MESSAGES, "tools": tools}, "chat_sft_v1", False).tools)


def test_messages_written_as_text_are_opened() -> None:
    assert to_line({"messages": json.dumps(MESSAGES)}, "chat_sft_v1", False).messages == MESSAGES


@pytest.mark.parametrize("text", ["[not json", "hello", "[" * 100_000 + "]" * 100_000, "[" * 70 + "]" * 70, '[{"a":1,"a":2}]'])
def test_messages_as_text_that_is_no_sane_json_are_refused(text: str) -> None:
    with pytest.raises(LineRefused, match="messages holds text; expected a list"):
        checked_messages(to_line({"messages": text}, "chat_sft_v1", False).messages, False)


# -- ShareGPT ----------------------------------------------------------------------------------------------------------


def test_sharegpt_as_llama_factory_reads_it_becomes_messages_with_tools() -> None:
    value = {
        "conversations": [
            {"from": "human", "value": "Weather in Rome?"},
            {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Rome"}}'},
            {"from": "observation", "value": '{"sky": "sunny"}'},
            {"from": "gpt", "value": "Sunny."},
        ],
        "system": "You are kind.",
        "tools": json.dumps([WEATHER]),
        "id": "identity_0",
    }
    line = to_line(value, "sharegpt", False)
    checked = checked_messages(line.messages, False)
    assert [message["role"] for message in checked] == ["system", "user", "assistant", "tool", "assistant"]
    assert checked[2]["tool_calls"] == [
        {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Rome"}}}
    ]
    assert (checked[3]["content"], checked[4]["content"]) == ('{"sky": "sunny"}', "Sunny.")
    assert checked_tools(line.tools) == TOOLS
    assert line.meta == {"id": "identity_0"}


@pytest.mark.parametrize(
    ("speaker", "role"),
    [("human", "user"), ("user", "user"), ("gpt", "assistant"), ("assistant", "assistant"), ("model", "assistant")],
)
def test_every_speaker_of_sharegpt_has_its_role(speaker: str, role: str) -> None:
    assert to_line({"conversations": [{"from": speaker, "value": "x"}]}, "sharegpt", False).messages[0]["role"] == role


def test_sharegpt_with_system_turn_weights_and_role_content_names() -> None:
    turns = [
        {"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 0},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "weight": 1},
    ]  # fmt: skip
    line = to_line({"conversations": turns, "system": "another"}, "sharegpt", False)
    assert said(line) == [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert [message.get("weight") for message in line.messages] == [None, None, 0, None, 1]


def test_sharegpt_several_calls_at_once() -> None:
    calls = [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": '{"y": 2}'}]
    for value in (calls, json.dumps(calls)):
        line = to_line(
            {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": value}]}, "sharegpt", False
        )
        assert [call["function"]["name"] for call in checked_messages(line.messages, False)[1]["tool_calls"]] == ["f", "g"]


@pytest.mark.parametrize(
    ("conversations", "code", "says"),
    [
        ("hello", "wrong_spec", "conversations holds text"),
        (["a"], "bad_role", "turn 1 is text"),
        ([{"from": "bing", "value": "a"}], "bad_role", "turn 1 is from 'bing'; known: human"),
        ([{"from": ["gpt"], "value": "a"}], "bad_role", "known"),
        ([{"value": "a"}], "bad_role", "turn 1 is from None"),
        ([{"from": "function_call", "value": "call the weather"}], "wrong_spec", "turn 1 (function_call)"),
        ([{"from": "function_call", "value": "[]"}], "wrong_spec", "turn 1 (function_call)"),
        ([{"from": "function_call", "value": '{"arguments": {}}'}], "wrong_spec", "turn 1 (function_call)"),
        ([{"from": "observation", "value": {"x": 1}}], "wrong_spec", "JSON as text"),
    ],
)
def test_sharegpt_that_says_nothing_clear_is_refused(conversations: Any, code: str, says: str) -> None:
    with pytest.raises(LineRefused) as caught:
        to_line({"conversations": conversations}, "sharegpt", False)
    assert caught.value.code == code and says in caught.value.detail


# -- Alpaca ------------------------------------------------------------------------------------------------------------


def test_alpaca_joins_instruction_and_input() -> None:
    line = to_line({"instruction": "Add.", "input": "1 and 2", "output": "3", "text": "### rendered"}, "alpaca", False)
    assert (said(line), line.meta) == ([("user", "Add.\n1 and 2"), ("assistant", "3")], {"text": "### rendered"})


@pytest.mark.parametrize("more", [{}, {"input": ""}, {"input": None, "system": "", "history": []}, {"history": ""}])
def test_alpaca_without_its_optional_keys(more: dict[str, Any]) -> None:
    assert said(to_line({"instruction": "a", "output": "b", **more}, "alpaca", False)) == [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize(("more", "weight"), [({}, 0), ({"train_history": False}, 0), ({"train_history": True}, None)])
def test_alpaca_history_is_read_and_trained_only_when_asked_for(more: dict[str, Any], weight: int | None) -> None:
    value = {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]], **more}
    line = to_line(value, "alpaca", False)
    assert said(line) == [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert [message.get("weight") for message in line.messages] == [None, None, weight, None, None]
    assert line.meta == {}


@pytest.mark.parametrize("history", [[["a"]], ["a"], {"a": "b"}, 7, "a"])
def test_alpaca_history_that_is_no_pairs_is_refused(history: Any) -> None:
    with pytest.raises(LineRefused, match="history"):
        to_line({"instruction": "a", "output": "b", "history": history}, "alpaca", False)


# -- lines of another format -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "form", "code"),
    [
        ({"prompt": "a", "completion": "b"}, "chat_sft_v1", "wrong_spec"),
        ({"messages": MESSAGES}, "completion_v1", "wrong_spec"),
        ({"messages": MESSAGES}, "sharegpt", "wrong_spec"),
        ({"conversations": []}, "chat_sft_v1", "wrong_spec"),
        ({"instruction": "a", "output": "b"}, "chat_sft_v1", "wrong_spec"),
        ({"messages": MESSAGES}, "syllo_v1", "wrong_spec"),
        ({"question": "a"}, "chat_sft_v1", "wrong_spec"),
        ({"prompt": ["a"], "completion": "b"}, "completion_v1", "wrong_spec"),
        ({"prompt": "a", "completion": None}, "completion_v1", "wrong_spec"),
        ({"instruction": 7, "output": "b"}, "alpaca", "wrong_spec"),
        ({"messages": MESSAGES, "chosen": "x"}, "chat_sft_v1", "preference_data"),
        ({"prompt": "a", "completion": "b", "label": True}, "completion_v1", "preference_data"),
    ],
)
def test_line_of_another_format_is_refused(value: dict[str, Any], form: str, code: str) -> None:
    with pytest.raises(LineRefused) as caught:
        to_line(value, form, False)
    assert caught.value.code == code


def test_preference_line_is_refused_even_where_the_sidecar_names_the_spec() -> None:
    with pytest.raises(LineRefused, match="preference"):
        to_line({"prompt": "a", "completion": "b", "label": False}, "completion_v1", True)


def test_syllo_line_in_a_chat_file_is_a_chat_line() -> None:
    assert to_line(SYLLO, "chat_sft_v1", False).messages == MESSAGES


def test_line_that_also_fits_an_earlier_format_is_read_as_the_named_one() -> None:
    value = {"messages": MESSAGES, "prompt": "a", "completion": "b"}
    assert to_line(value, "completion_v1", True).meta == {"messages": MESSAGES}
