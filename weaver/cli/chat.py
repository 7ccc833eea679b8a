"""weaver chat: talk with a checkpoint through the oracle, streaming.

Place in the flow: a client of POST /v1/chat/completions (CONTRACTS.md section 10) with the read key. Files read: the key,
status/endpoints/inference.json. Invariant: the conversation lives in memory only; what a model says reaches the terminal
without escapes; an unknown checkpoint is exit 5 with the list, an oracle that cannot be reached exit 8, 3 where
no Weaver runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from core.clock import SystemClock
from core.errors import NotFound, NotRunning, RemoteRefused, Unavailable
from core.http.oracle import Oracle
from core.in_force import read_in_force
from core.keys import read_key
from core.liveness import Liveness, living_url
from core.paths import Paths
from weaver.cli.home import this_home
from weaver.cli.output import plain, print_data, print_message

MOST_TOKENS = 512
_END = b"[DONE]"


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str


class _Chunk(msgspec.Struct):
    model: str = ""
    choices: list[_Choice] = []
    error: _Error | None = None


Message = dict[str, str]


def chat(
    model: Annotated[str, typer.Argument(help="A checkpoint id, an alias, or <model>@<step>.")] = "champion",
    message: Annotated[str | None, typer.Option("-m", "--message", help="Ask once and exit.")] = None,
) -> None:
    """Talk with a checkpoint through the oracle.

    Examples:
      weaver chat
      weaver chat tiny@1500 -m "1010 xor 0110"
    """
    run_chat(this_home(), model, message)


def run_chat(paths: Paths, model: str, text: str | None) -> None:
    """Ask once, or talk until the input ends. Raises NotRunning, NotFound, Unavailable, RemoteRefused."""
    key = paths.tokens / "oracle-read"
    if not key.exists():
        raise NotRunning(home=paths.home)
    oracle: Oracle | None = None
    try:
        oracle = Oracle(living_url(paths, read_in_force(paths, os.environ).hosts, "inference", os.environ), read_key(key))
        if text is not None:
            _turn(oracle, model, [{"role": "user", "content": text}])
        else:
            _converse(oracle, model)
    except Unavailable:
        if not Liveness(paths, SystemClock().mono()).weaver_is_well:
            raise NotRunning(home=paths.home) from None
        raise
    finally:
        if oracle is not None:
            oracle.close()


def _converse(oracle: Oracle, model: str) -> None:
    """Take turns; an answer that is refused (too long a conversation, say) ends the turn, not the conversation."""
    resolved = _known(oracle, model)
    print_message(f"Talking with {plain(resolved)}. End with Ctrl-D.")
    messages: list[Message] = []
    for line in _said():
        messages.append({"role": "user", "content": line})
        try:
            messages.append({"role": "assistant", "content": _turn(oracle, model, messages)})
        except RemoteRefused as error:
            print_message(f"weaver: {plain(str(error))}")
            messages.pop()


def _said() -> Iterator[str]:
    """Give each non-empty line of the input, with a prompt where a person types it."""
    while True:
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _turn(oracle: Oracle, model: str, messages: list[Message]) -> str:
    """Print one answer as it comes and give it whole."""
    request = {"model": model, "messages": messages, "stream": True, "max_tokens": MOST_TOKENS, "temperature": 0}
    parts: list[str] = []
    try:
        for data in oracle.client.stream("/v1/chat/completions", request):
            if data == _END:
                break
            chunk = msgspec.json.decode(data, type=_Chunk)
            if chunk.error is not None:
                detail = f"the answer broke off: {plain(chunk.error.message)}"
                raise RemoteRefused(service="the oracle", status=500, url=oracle.client.url, detail=detail)
            for choice in chunk.choices:
                parts.append(choice.delta.content or "")
                print_data(plain(parts[-1], keep_newlines=True), end="")
    except RemoteRefused as error:
        if error.facts["status"] == 404:
            raise _unknown(oracle, model) from error
        raise
    print_data("")
    return "".join(parts)


def _known(oracle: Oracle, model: str) -> str:
    """Give the checkpoint that a name means now. Raises NotFound with the list."""
    for row in oracle.models():
        if row.id == model:
            return row.weaver.checkpoint
    if "@" in model or "/" not in model:
        return model  # <model>@<step> and bare names are resolved by the oracle alone
    raise _unknown(oracle, model)


def _unknown(oracle: Oracle, model: str) -> NotFound:
    known = ", ".join(row.id for row in oracle.models())
    return NotFound(kind="checkpoint that the oracle can load", name=model, known=plain(known) or "none yet")
