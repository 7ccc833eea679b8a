"""The verdict on one line: every code, its reason, and that no line whatever can break the check."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import NotFound
from core.jobs.job import Line, Reason
from core.jobs.validate import LONGEST_REASON, Accepted, Setting, check_line, clipped
from core.text.digest import problem_digest
from core.text.labels import encode_conversation

LEAKED = "What is seven times nine?"
ASK, SAY = {"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}


def grade(skill: str, level: int, problem: str, answer: str) -> bool:
    if skill != "sums":
        raise NotFound(kind="skill", name=skill, known="sums")
    return answer == str(sum(int(part) for part in problem.split("+")))


@pytest.fixture(scope="module")
def setting(tokenizer: Any) -> Setting:
    digests = frozenset([problem_digest(LEAKED)])
    return Setting(spec="chat_sft_v1", tokenizer=tokenizer, max_length=200, grade=grade, eval_digests=digests)


def line(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"messages": list(messages), **more}).encode()


def test_good_line_becomes_its_canonical_form_with_its_length(setting: Setting) -> None:
    data = line({"role": "user", "content": " a  b\n"}, SAY, id=7)
    found = check_line(data, setting)
    assert isinstance(found, Accepted)
    assert json.loads(found.data) == {"messages": [{"role": "user", "content": "a  b"}, SAY], "tools": None, "meta": {"id": 7}}
    canonical = msgspec.json.decode(found.data, type=Line)
    ids = encode_conversation(setting.tokenizer, canonical.messages, canonical.tools)[0].ids
    assert found.longest == found.tokens == len(ids)


def test_canonical_form_is_the_same_however_the_line_was_written(setting: Setting) -> None:
    plain = check_line(line(ASK, SAY), setting)
    spaced = check_line(
        b'  {"messages" : [ {"content":"a\\u0020b","role":"user"},{"role":"assistant","content":"c"} ]} ', setting
    )
    assert isinstance(plain, Accepted) and isinstance(spaced, Accepted)
    assert plain.data == spaced.data


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"hello", "not_json", "not JSON: Expecting value"),
        (b'{"messages": [', "not_json", "not JSON"),
        (b'{"messages": NaN}', "not_json", "NaN"),
        (b'{"x": -Infinity}', "not_json", "Infinity"),
        (b'{"x": 1e999}', "not_json", "1e999 is too large"),
        (b'{"x": 1, "x": 2}', "not_json", "the key 'x' appears twice"),
        (b'{"messages": [{"role": "user", "role": "system"}]}', "not_json", "'role' appears twice"),
        (b"\x00\x00\x00", "not_utf8", "zero bytes"),
        ('{"x": 1}'.encode("utf-16-le"), "not_utf8", "UTF-16; save it as UTF-8"),
        (b"[" * 100_000, "not_json", "deep"),
        (b'{"x":' * 5_000 + b"1" + b"}" * 5_000, "not_json", "deep"),
        (b'{"x": "\xff"}', "not_utf8", "byte 7"),
        ('{"x": "é"}'.encode("latin-1"), "not_utf8", "save the file as UTF-8"),
        ('{"x": 1}'.encode("utf-16"), "not_utf8", "byte 0"),
        (b'{"x": "\\ud800"}', "not_utf8", "surrogate"),
        (b"[1, 2]", "wrong_spec", "a list; expected one JSON object"),
        (b'"text"', "wrong_spec", "text; expected"),
        (b"7", "wrong_spec", "a number"),
        (b"null", "wrong_spec", "null"),
        (b'{"prompt": "a", "completion": "b"}', "wrong_spec", "the file is chat_sft_v1, this line is completion_v1"),
        (b'{"question": "a"}', "wrong_spec", "lacks messages; it has the keys question"),
        (line(ASK), "no_assistant", "expected at least one"),
        (line(ASK, {**SAY, "weight": 0}), "nothing_to_train", "weight 0"),
        (line(ASK, {"role": "assistant", "content": ""}), "empty_content", "empty"),
        (line({"role": "bot", "content": "a"}, SAY), "bad_role", "'bot'"),
        (line(ASK, SAY, tools="x"), "wrong_spec", "tools"),
    ],
)
def test_bad_line_is_refused_with_its_code_and_a_reason(setting: Setting, data: bytes, code: str, says: str) -> None:
    found = check_line(data, setting)
    assert isinstance(found, Reason)
    assert found.code == code
    assert says in found.message, found.message


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|pad|>", "\U000f0000", "\U000f0001"])
@pytest.mark.parametrize("role", ["user", "assistant", "tool argument", "tool"])
def test_literal_control_token_is_refused_wherever_it_stands(setting: Setting, token: str, role: str) -> None:
    text = f"hi {token}\nassistant\nforged"
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": [text]}}}
    data = {
        "user": line({"role": "user", "content": text}, SAY),
        "assistant": line(ASK, {"role": "assistant", "content": text}),
        "tool argument": line(ASK, {**SAY, "tool_calls": [call]}),
        "tool": line(ASK, SAY, tools=[{"type": "function", "function": {"name": "f", text: 1}}]),
    }[role]
    found = check_line(data, setting)
    assert isinstance(found, Reason) and found.code == "control_text"
    assert "U+F000" in found.message or token in found.message


def test_control_token_in_metadata_harms_nothing(setting: Setting) -> None:
    assert isinstance(check_line(line(ASK, SAY, note="<|im_end|>"), setting), Accepted)


def test_line_longer_than_the_model_can_take_is_refused_with_both_lengths(setting: Setting) -> None:
    found = check_line(line(ASK, {"role": "assistant", "content": "x" * 300}), setting)
    assert isinstance(found, Reason) and found.code == "over_length"
    assert "200 are allowed" in found.message


def test_line_of_exactly_the_longest_length_passes(setting: Setting) -> None:
    short = check_line(line(ASK, SAY), setting)
    assert isinstance(short, Accepted)
    room = 200 - short.longest
    exact = check_line(line(ASK, {"role": "assistant", "content": "c" + "1" * room}), setting)
    assert isinstance(exact, Accepted) and exact.longest == 200
    assert isinstance(check_line(line(ASK, {"role": "assistant", "content": "c" + "1" * (room + 1)}), setting), Reason)


def test_hopelessly_long_line_is_refused_without_tokenising_it(setting: Setting) -> None:
    found = check_line(line(ASK, {"role": "assistant", "content": "word " * 10**6}), setting)
    assert isinstance(found, Reason) and found.code == "over_length" and "at least" in found.message


@pytest.mark.parametrize(
    "data",
    [
        line({"role": "user", "content": LEAKED}, SAY),
        line({"role": "user", "content": f"  {LEAKED.replace(' ', chr(10))} "}, SAY),
        line({"role": "user", "content": "hello"}, SAY, {"role": "user", "content": LEAKED}, SAY),
        line(ASK, SAY, problem=LEAKED),
    ],
)
def test_question_of_a_frozen_suite_is_left_out(setting: Setting, data: bytes) -> None:
    found = check_line(data, setting)
    assert isinstance(found, Reason) and found.code == "eval_leak"
    assert "frozen suite" in found.message


def test_question_of_a_suite_is_found_in_every_format(setting: Setting) -> None:
    for spec, value in {
        "completion_v1": {"prompt": LEAKED, "completion": "63"},
        "text_v1": {"text": LEAKED},
    }.items():
        found = check_line(json.dumps(value).encode(), replace(setting, spec=spec, is_given=True))  # type: ignore[arg-type]
        assert isinstance(found, Reason) and found.code == "eval_leak", spec


def syllo(answer: str, said: str | None = None, **changed: Any) -> bytes:
    meta = {"skill": "sums", "level": 1, "problem": "2+3", "answer": answer, **changed}
    return line({"role": "user", "content": "2+3"}, {"role": "assistant", "content": answer if said is None else said}, **meta)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (syllo("5"), None, ""),
        (syllo("6"), "wrong_answer", "'6' is not right for the problem '2+3'"),
        (syllo("5", said="6"), "wrong_answer", "the last assistant message '6'"),
        (syllo("5", skill="cooking"), "wrong_answer", "cooking"),
        (syllo("5", level="1"), "wrong_spec", "level as a number"),
        (syllo("5", level=True), "wrong_spec", "level as a number"),
    ],
)
def test_answer_of_a_skill_line_must_be_right(setting: Setting, data: bytes, code: str | None, says: str) -> None:
    found = check_line(data, replace(setting, spec="syllo_v1"))
    assert (found.code if isinstance(found, Reason) else None) == code
    assert not isinstance(found, Reason) or says in found.message


def test_skill_line_in_a_chat_file_is_graded_too_unless_the_sidecar_named_the_spec(setting: Setting) -> None:
    assert isinstance(check_line(syllo("6"), setting), Reason)
    assert isinstance(check_line(syllo("6"), replace(setting, is_given=True)), Accepted)


def test_raw_completion_keeps_its_blanks_and_is_encoded_without_template(setting: Setting) -> None:
    data = json.dumps({"prompt": "The cat", "completion": " sat", "raw": True}).encode()
    found = check_line(data, replace(setting, spec="completion_v1"))
    assert isinstance(found, Accepted)
    assert [message["content"] for message in json.loads(found.data)["messages"]] == ["The cat", " sat"]
    assert found.longest == len("The cat sat") + 1


def test_giant_data_does_not_make_a_giant_reason(setting: Setting) -> None:
    found = check_line(line({"role": "x" * 10**6, "content": "a"}, SAY), setting)
    assert isinstance(found, Reason) and len(found.message) <= LONGEST_REASON


def test_reason_with_what_no_record_holds_is_still_a_record() -> None:
    msgspec.json.encode(clipped("bad_role", "half a pair: \ud800"))


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6
)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]) | values, "content": st.text(max_size=12) | values},
    optional={"weight": st.sampled_from([0, 1]) | values, "tool_calls": values | st.lists(values, max_size=2), "name": values},
)
objects = st.fixed_dictionaries(
    {}, optional={"messages": st.lists(message, max_size=4) | values, "tools": values, "skill": values, "level": values,
                  "problem": values, "answer": values, "prompt": values, "completion": values, "text": values, "raw": values},
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=objects | values, spec=st.sampled_from(["chat_sft_v1", "completion_v1", "syllo_v1", "text_v1"]))
def test_no_json_whatever_breaks_the_check(setting: Setting, value: Any, spec: Any) -> None:
    found = check_line(json.dumps(value).encode(), replace(setting, spec=spec, is_given=True))
    if isinstance(found, Accepted):
        canonical = msgspec.json.decode(found.data, type=Line)
        examples = encode_conversation(
            setting.tokenizer, canonical.messages, canonical.tools, raw=canonical.meta.get("raw") is True
        )
        assert sum(len(example.ids) for example in examples) == found.tokens, "the trainer reads the same line"
    else:
        assert found.code and found.message


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60))
def test_no_bytes_whatever_break_the_check(setting: Setting, data: bytes) -> None:
    found = check_line(data, setting)
    assert isinstance(found, Reason) and found.message
