"""Conversations: what is cleaned, what is kept, what is refused and with which reason."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import LineRefused
from core.jobs.spec import checked_messages, checked_tools

USER = {"role": "user", "content": "a"}
ASSISTANT = {"role": "assistant", "content": "b"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def test_contents_are_composed_and_stripped() -> None:
    found = checked_messages(
        [{"role": "user", "content": " cafe\u0301\n"}, {"role": "assistant", "content": "\u3000b "}], False
    )
    assert [message["content"] for message in found] == ["café", "b"]


def test_raw_contents_keep_their_blanks() -> None:
    found = checked_messages([{"role": "user", "content": ""}, {"role": "assistant", "content": " cafe\u0301\n"}], True)
    assert [message["content"] for message in found] == ["", " café\n"]


def test_text_parts_become_one_text() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    assert checked_messages([{"role": "user", "content": parts}, ASSISTANT], False)[0]["content"] == "a b"


def test_unknown_keys_of_a_message_are_kept_and_nulls_are_left_out() -> None:
    message = {**ASSISTANT, "name": "anna", "refusal": None, "weight": 1, "tool_calls": None}
    assert checked_messages([USER, message], False)[1] == {**ASSISTANT, "name": "anna", "weight": 1}


def test_tool_calls_pass_and_need_no_content() -> None:
    talk = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "7"}, ASSISTANT]
    found = checked_messages(talk, False)
    assert found[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert found[2] == {"role": "tool", "content": "7"}


@pytest.mark.parametrize(
    ("messages", "code", "says"),
    [
        ("text", "wrong_spec", "expected a list"),
        (None, "wrong_spec", "null"),
        ([], "no_assistant", "assistant"),
        (["hi"], "bad_role", "message 1 is text"),
        ([USER], "no_assistant", "assistant"),
        ([{"role": "human", "content": "a"}, ASSISTANT], "bad_role", "'human'; known: system"),
        ([{"content": "a"}, ASSISTANT], "bad_role", "None"),
        ([{"role": ["user"], "content": "a"}, ASSISTANT], "bad_role", "known"),
        ([ASSISTANT, USER], "bad_role", "opens the conversation"),
        ([{"role": "system", "content": "s"}, ASSISTANT], "bad_role", "message 2 (assistant) opens"),
        ([USER, ASSISTANT, {"role": "tool", "content": "7"}], "bad_role", "no tool was called"),
        ([USER, {"role": "assistant", "content": " \n"}], "empty_content", "message 2 (assistant) is empty"),
        ([{"role": "user", "content": None}, ASSISTANT], "empty_content", "message 1 (user)"),
        ([USER, {**ASSISTANT, "weight": 0}], "nothing_to_train", "weight 0"),
        ([USER, {**ASSISTANT, "weight": 0.5}], "wrong_spec", "0.5; expected 0 or 1"),
        ([USER, {**ASSISTANT, "weight": True}], "wrong_spec", "True"),
        ([{"role": "user", "content": 7}, ASSISTANT], "wrong_spec", "a number as content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}, ASSISTANT], "wrong_spec", "'image_url'; only text"),
        ([{"role": "user", "content": ["a"]}, ASSISTANT], "wrong_spec", "is text"),
        ([USER, {**ASSISTANT, "function_call": {"name": "f"}}], "wrong_spec", "old function_call"),
        ([USER, {**ASSISTANT, "tool_calls": {}}], "wrong_spec", "expected a list"),
        ([USER, {**ASSISTANT, "tool_calls": [{"name": "f"}]}], "wrong_spec", '"function"'),
        ([USER, {**ASSISTANT, "tool_calls": [{"function": {"name": "f", "arguments": "{x"}}]}], "wrong_spec", "arguments"),
        ([USER, {**ASSISTANT, "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}], "wrong_spec", "arguments"),
    ],
)
def test_impossible_conversation_is_refused_with_its_reason(messages: Any, code: str, says: str) -> None:
    with pytest.raises(LineRefused) as caught:
        checked_messages(messages, False)
    assert caught.value.code == code
    assert says in caught.value.detail


@pytest.mark.parametrize("tools", ["x", {}, [1], [None]])
def test_tools_that_are_no_list_of_objects_are_refused(tools: Any) -> None:
    with pytest.raises(LineRefused):
        checked_tools(tools)


def test_no_tools_are_none() -> None:
    assert checked_tools(None) is None
    assert checked_tools([]) is None
    assert checked_tools([{"type": "function"}]) == [{"type": "function"}]
