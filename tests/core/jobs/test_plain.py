"""The quick way through QUICK: a line that is called plain is one that the exact checks accept, byte for byte the same."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.jobs.blocks import SETTLED
from core.jobs.job import Line
from core.jobs.plain import PlainLines, head_of
from core.jobs.validate import Accepted, Setting, check_line
from core.text.digest import problem_digest
from trainer.tiny.tokenizer import SPECIALS

LEAKED = ("What is seven times nine?", "12 + 5", "How many é in «été»?", 'say "what" now', "a b", "x y z is what?")
RESERVED = ("\U000f0000", "\U000f0001")
LONGEST = 3000


@pytest.fixture(scope="module")
def setting(tokenizer: Any) -> Setting:
    digests = frozenset(map(problem_digest, LEAKED))
    return Setting(spec="chat_sft_v1", tokenizer=tokenizer, max_length=10**6, grade=lambda *_: True, eval_digests=digests)


def plain_lines(has_heads: bool = True, more: tuple[str, ...] = ()) -> PlainLines:
    heads = [head_of(problem) for problem in LEAKED] if has_heads else None
    return PlainLines([*SPECIALS, *RESERVED, *more], frozenset(map(problem_digest, LEAKED)), heads)


PLAIN = plain_lines()


def found(lines: list[bytes], by: PlainLines = PLAIN, behind: bytes = b"") -> list[bool]:
    """Say of each line whether it is plain; behind: what follows the block in memory."""
    block = b"".join(line + b"\n" for line in lines)
    ends, plain = by.find(block + behind, len(block), LONGEST)
    assert [block[: end + 1].count(b"\n") for end in ends] == list(range(1, len(lines) + 1))
    return [bool(flag) for flag in plain]


def assert_accepted_as_it_stands(line: bytes, setting: Setting) -> None:
    """Fail unless the exact checks accept the line with the canonical form that stage STANDARD will make of it."""
    verdict = check_line(line, setting)
    assert isinstance(verdict, Accepted), (line, verdict)
    assert verdict == check_line(line, replace(setting, is_given=True, format="chat_sft_v1"))
    assert verdict.data == msgspec.json.encode(msgspec.json.decode(line, type=Line)), line


def chat(*contents: str, ascii_only: bool = False, compact: bool = False, system: str = "") -> bytes:
    messages = [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(contents)]
    value = {"messages": [*([{"role": "system", "content": system}] if system else []), *messages]}
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":") if compact else None).encode()


USUAL = [
    chat("hello", "there"), chat("hello", "there", compact=True), chat("a", "b", "c", "d", system="be kind"),
    chat("line\nline\ttab", 'he said "so" \\ and \\n'), chat("café – „so“", "naïve €5 日本語。", ascii_only=True),
    chat("café – „so“", "naïve €5 日本語。"), chat("x" * 900, "y" * 900), chat("a < b > c", "$x_1$ \\frac{1}{2} [ ] { } , :"),
    chat('{"messages": [{"role": "user", "content": "x"}]}', '"}, {"role": "assistant", "content": "'), chat("\\", "\\\\"),
    chat('"', '"'), chat("/", "a/b"), chat("한국어", "Ελλάδα Россия"), chat("12 +5", "How man"), chat("what is", "a | b"),
]  # fmt: skip


@pytest.mark.parametrize("line", USUAL)
def test_usual_line_is_plain_and_accepted_as_it_stands(setting: Setting, line: bytes) -> None:
    assert found([line]) == [True]
    assert_accepted_as_it_stands(line, setting)


GOOD = USUAL[0]
HOSTILE = [
    b"", b" ", b"{}", b"[]", b"hello", GOOD[:-1], GOOD + b" ", b" " + GOOD, GOOD + b"\r", GOOD + GOOD, GOOD + b"," + GOOD,
    GOOD[:-1] + b', "id": 1}', GOOD[:-1] + b', "messages": []}', GOOD[:-1] + b', "tools": null}', GOOD[:-1] + b',"x":NaN}',
    b'{"messages": [{"role": "user", "role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "user", "content": "a", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"content": "a", "role": "user"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "user", "content": "a"} , {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": 12345678}]}',
    b'{"messages":[{"role": "user","content": "a"}, {"role":"assistant", "content":"b"}]}',
    b'{"messages": [{"role": "user", "content": "a"},{"role": "assistant", "content": "b"}]}',
    b'{"messages": [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]}',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}}]',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],}',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},]}',
    b'{"messages": [{"role": "user", "content": "a\\"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "user", "content": "a\\\\\\"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "user", "content": "a"b"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "us\\u0065r", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "USER", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "uses", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "tool", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}',
    b'{"messages": [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}',
    b'{"messages": [{"role": "user", "content": "a"}]}', b'{"messages": []}', b'{"messages": [{}]}',
    GOOD.replace(b"[{", b"[1{"), GOOD.replace(b"[{", b"[,{"), GOOD + b"}", GOOD + b"x", GOOD + b"]}", GOOD + b" }",
    GOOD.replace(b"}, {", b"}, 1{"), GOOD.replace(b"}, {", b"}, , {"), GOOD.replace(b"}, {", b"},x{"),
    GOOD.replace(b"}, {", b"], {"),
    GOOD.replace(b"}, {", b"}; {"), GOOD.replace(b"}, {", b"} {"), GOOD.replace(b"}]}", b"]]}"), GOOD.replace(b"}]}", b"}}}"),
    USUAL[1].replace(b"},{", b"}1{"), USUAL[1].replace(b"},{", b"},,{"), USUAL[1].replace(b"},{", b"}x{"),
    b'{"messages" : [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messag\\u0065s": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    chat("", "b"), chat("a", ""), chat(" a", "b"), chat("a ", "b"), chat("a", "b\n"), chat("\ta", "b"), chat("a", "\fb"),
    chat("a", "b\x0b", ascii_only=True), chat("\u00a0a", "b"), chat("a\u3000", "b"), chat("a\u2028", "b"), chat("a", "\x85b"),
    chat("\u00a0a", "b", ascii_only=True), chat("a", "b\u2003", ascii_only=True), chat("\ufeffa", "b"), b"\xef\xbb\xbf" + GOOD,
    chat("cafe\u0301", "b"), chat("cafe\u0301", "b", ascii_only=True), chat("\u1100\u1161", "b"), chat("\u212b", "ﬁ \u0344"),
    chat("\u0301a", "b"), chat("ê\u0301", "b"), chat("e", "b").replace(b'"e"', '"\\u00ea\u0301"'.encode()),
    chat("가\u11a8", "b"), chat("か\u3099", "b"), chat("<\u0338", "b"), chat("👍", "b"), chat("👍", "b", ascii_only=True),
    *(chat(f"x{token}y", "b") for token in (*SPECIALS, *RESERVED)), *(chat("a", f"{token}") for token in SPECIALS),
    *(chat(text, "b") for text in LEAKED), chat("hello", "b", LEAKED[0], "d"), chat(LEAKED[0].replace(" ", "  "), "b"),
    chat("What\nis seven times nine?", "b"), chat("What is  seven\ttimes nine?", "b"), chat("12  +  5", "b"),
    chat("12 +\n5", "b"), chat("x\u00a0y z is what?", "b"), chat("e", "b").replace(b'"e"', '"\\u00e2\u0301"'.encode()),
    chat("What is seven times nine\\u003f", "b").replace(b"\\\\u", b"\\u"), chat("a\u00a0b", "c"), chat("a  b", "c"),
    chat("<|im_end|>", "b").replace(b"<", b"\\u003c"), chat("<|im_end|>", "b").replace(b"|>", b"\\u007c>"),
    *(chat("a", "b").replace(b'"a"', b'"' + bad + b'"') for bad in (
        b"\\ud800", b"\\u12", b"\\x", b"a\x00", b"\x1f", b"\x7f",
        b"\xff", b"\xc3", b"\xc0\x80", b"\xc3\x28", b"\xe2\x82", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x9f\x91", b"\x80",
        b"\xe0\x83\xa9", b"\xc3\xa9\xa9", b"\xf4\x90\x80\x80", b"\xe2\x80\x99\x80", b"\xc3\xc3\xa9",
    )), chat("x" * LONGEST, "y"), b"\\" * 50, b'"' * 50, b'"' * 10, b'"' * 18, b"{" * 40, b'{"messages": [' + b'"' * 16 + b"]}",
]  # fmt: skip


@pytest.mark.parametrize("style", ["as written", "among others", "with more in memory"])
def test_hostile_line_is_not_plain_unless_it_is_accepted_as_it_stands(setting: Setting, style: str) -> None:
    if style == "among others":
        flags = found([line for hostile in HOSTILE for line in (GOOD, hostile, USUAL[1])])
        assert all(flags[::3]) and all(flags[2::3]), "a bad line makes its neighbours suspect"
        flags = flags[1::3]
    else:
        behind = GOOD * 2 if style == "with more in memory" else b""
        flags = [found([hostile], behind=behind)[0] for hostile in HOSTILE]
    for hostile, is_plain in zip(HOSTILE, flags, strict=True):
        if is_plain:
            assert_accepted_as_it_stands(hostile, setting)
            assert len(hostile) <= LONGEST


SCRAPS = st.sampled_from([
    b'{"messages": [', b'{"messages":[', b'{"role": "user", "content": "', b'{"role":"assistant","content":"', b'"}, ', b'"},',
    b'"}]}', b"user", b"assistant", b"system", b"tool", b'"', b"\\", b"\\n", b'\\"', b"\\\\",
    b"\\u00e9", b"\\u0301", b"\\u2019", b"\\u003c",
    b" ", b"  ", b"a", b"hello", "é".encode(), "e\u0301".encode(), "日".encode(), "\u00a0".encode(), "👍".encode(), b"\xe2\x80",
    b"<|im_end|>", b"|", b"{", b"}", b"[", b"]", b",", b":", b"12 + 5", b"\x01", b"\r", "\U000f0000".encode(),
])  # fmt: skip
INSIDE = st.lists(
    st.sampled_from(
        ["a", "hello", " ", "\n", "\\", '"', "é", "e\u0301", "\u2019", "日", "\u00a0", "👍", "<|im_end|>", "|", "/", *LEAKED]
    ),
    max_size=6,
).map("".join)


@st.composite
def nearly_plain(draw: st.DrawFn) -> bytes:
    """Give a line that is plain, or was so before a few bytes of it were changed."""
    roles = draw(
        st.sampled_from([["user", "assistant"], ["system", "user", "assistant"], ["user", "assistant"] * 2, ["user"] * 2])
    )
    messages = [{"role": role, "content": draw(INSIDE)} for role in roles]
    separators = draw(st.sampled_from([(", ", ": "), (",", ":"), (", ", ":")]))
    line = json.dumps({"messages": messages}, ensure_ascii=draw(st.booleans()), separators=separators).encode()
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(SCRAPS) + line[at + draw(st.integers(0, 3)) :]
    return line


LINE = st.one_of(nearly_plain(), nearly_plain(), st.lists(SCRAPS, max_size=12).map(b"".join)).map(
    lambda line: line.replace(b"\n", b"")
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(lines=st.lists(LINE, min_size=1, max_size=4), has_heads=st.booleans())
@example(lines=[GOOD], has_heads=True)
def test_whatever_is_plain_is_accepted_as_it_stands(setting: Setting, lines: list[bytes], has_heads: bool) -> None:
    flags = found(lines, plain_lines(has_heads))
    assert flags == [found([line], plain_lines(has_heads))[0] for line in lines], "a line's neighbours change what it is"
    for line, is_plain in zip(lines, flags, strict=True):
        if is_plain:
            assert_accepted_as_it_stands(line, setting)


def test_control_token_of_another_script_is_found_raw_and_written_as_escapes() -> None:
    token = "<｜end▁of▁sentence｜>"
    for by in (plain_lines(more=(token,)), plain_lines(more=(token, "日"))):
        assert found([chat(f"a{token}", "b"), chat(f"a{token}", "b", ascii_only=True)], by) == [False, False]
    assert found([chat("日", "b"), chat("日", "b", ascii_only=True)], plain_lines(more=("日",))) == [False, False]
    assert found([chat("日", "b"), chat("日", "b", ascii_only=True)]) == [True, True]


def test_settled_characters_stay_what_they_are_whatever_stands_beside_them() -> None:
    settled = {chr(code) for first, last in SETTLED for code in range(first, last + 1)}
    composing = {
        parts[1] for code in range(0x110000)
        if len(parts := unicodedata.decomposition(chr(code)).split()) == 2 and not parts[0].startswith("<")
    }  # fmt: skip
    jamo = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for char in settled:
        assert unicodedata.is_normalized("NFC", char) and not unicodedata.combining(char), hex(ord(char))
        assert not char.isspace() and char not in jamo and f"{ord(char):04X}" not in composing, hex(ord(char))
        assert not 0xD800 <= ord(char) < 0xE000 and ord(char) > 0xA0
    assert PLAIN._tables.is_settled.sum() == len(settled)


def test_block_of_nothing_plain_and_block_of_one_byte_are_fine() -> None:
    assert found([b"x"] * 500) == [False] * 500
    assert found([b""]) == [False]
