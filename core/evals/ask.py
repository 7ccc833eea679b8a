"""Asking the questions of a suite: one checkpoint, greedily, in batches over one kept-alive connection.

Place in the flow: probe_checkpoints asks through the oracle with this and grades what comes back. Files read: the key,
status/endpoints/inference.json. Invariants: a question that got no answer is an error, never a wrong answer; an answer of
another checkpoint, or of other weights under its name, is an error too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from core.errors import Unavailable
from core.evals.score import Reply
from core.http.oracle import BatchAnswer, Oracle
from core.in_force import read_in_force
from core.keys import read_key
from core.liveness import living_url
from core.paths import Paths

# More than a suite holds: one request, so that one batch of the oracle answers it. A caller beats between two requests.
QUESTIONS_PER_REQUEST = 128


class Question(Protocol):
    """What is asked: any item of a suite or of a practice round."""

    @property
    def id(self) -> str:
        """Its id, under which the reply is given."""
        ...

    @property
    def prompt(self) -> str:
        """The text of the one user message."""
        ...


def connect(paths: Paths, environ: Mapping[str, str], key: str = "oracle-read") -> Oracle:
    """Make a client of the oracle, where it answers now; key: the name of a key file.

    Raises InvalidConfig, NotFound, KeyFileExposed, Unavailable where no oracle of this home has taken its port.
    """
    return Oracle(living_url(paths, read_in_force(paths, environ).hosts, "inference", environ), read_key(paths.tokens / key))


def ask(
    oracle: Oracle,
    checkpoint: str,
    weights_id: str,
    questions: Sequence[Question],
    max_tokens: int,
    progressed: Callable[[int], None] = lambda done: None,
) -> dict[str, Reply]:
    """Give a reply to every question, by its id, from exactly the checkpoint `<model>/<checkpoint>` with that weights_id.

    progressed is told how many have a reply. Raises Unavailable when not one question could be put, RemoteRefused when the
    oracle refuses the checkpoint or the request.
    """
    replies: dict[str, Reply] = {}
    failure: Unavailable | None = None
    for start in range(0, len(questions), QUESTIONS_PER_REQUEST):
        some = questions[start : start + QUESTIONS_PER_REQUEST]
        conversations = [[{"role": "user", "content": question.prompt}] for question in some]
        try:
            answers = oracle.answer(checkpoint, conversations, max_tokens).answers
        except Unavailable as error:
            failure = error
            replies |= {question.id: Reply(error=str(error)) for question in some}
        else:
            given = [*answers, *[None] * (len(some) - len(answers))]
            replies |= {one.id: _reply(answer, checkpoint, weights_id) for one, answer in zip(some, given, strict=False)}
        progressed(len(replies))
    if failure is not None and all(reply.error == str(failure) for reply in replies.values()):
        raise failure
    return replies


def _reply(answer: BatchAnswer | None, checkpoint: str, weights_id: str) -> Reply:
    if answer is None:
        return Reply(error="the oracle sent no answer to this question")
    if (answer.model, answer.system_fingerprint) != (checkpoint, weights_id):
        found = f"{answer.model} ({answer.system_fingerprint})"
        return Reply(error=f"answered by {found}, expected {checkpoint} ({weights_id})")
    if answer.error is not None or answer.text is None:
        return Reply(error=answer.error or "the oracle sent neither an answer nor an error")
    return Reply(answer=answer.text, logprob=answer.logprob, tokens=answer.tokens, ms=answer.ms)
