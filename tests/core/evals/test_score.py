"""Scores: errors are no wrong answers, files are written once, and one bad file hides no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from core import records
from core.errors import AlreadyExists, InvalidData, UsageError
from core.evals.score import (
    Decoding,
    Reply,
    Score,
    Sitting,
    best_by_suite,
    each_score,
    grade_answers,
    latest_by_suite,
    pair,
    read_scores,
    write_score,
)
from core.evals.statistics import wilson
from core.evals.suite import Suite
from core.paths import ModelPaths

SITTING = Sitting(
    model="tiny", checkpoint="checkpoint-50-20261120-2130", weights_id="0" * 16, host="local",
    decoding=Decoding(max_tokens=16), started_at="2026-11-20T21:30:00.000Z", finished_at="2026-11-20T21:30:02.000Z",
)  # fmt: skip


def test_all_answers_right_score_one(make_score: Any, suites: dict[str, Suite]) -> None:
    score = make_score("binary-3", 50)
    assert (score.n, score.correct, score.errors, score.accuracy, score.void) == (100, 100, 0, 1.0, False)
    assert (score.low, score.high) == wilson(100, 100)
    assert (score.suite, score.skill, score.level, score.kind) == ("binary-3", "binary", 3, "p0")
    assert score.suite_sha256 == suites["binary-3"].sha256
    assert [item.id for item in score.items] == [item.id for item in suites["binary-3"].items]
    assert all(item.correct is True and item.error is None for item in score.items)
    assert score.counts


def test_wrong_answers_are_kept_and_counted(make_score: Any) -> None:
    score = make_score("binary-3", 50, wrong=range(30))
    assert (score.n, score.correct, score.errors, score.accuracy) == (100, 70, 0, 0.70)
    assert [item.answer for item in score.items[:30]] == ["?"] * 30
    assert [item.correct for item in score.items] == [False] * 30 + [True] * 70


def test_errors_are_left_out_of_the_accuracy(make_score: Any) -> None:
    score = make_score("binary-3", 50, wrong=range(10), failed=range(95, 100))
    assert (score.n, score.correct, score.errors, score.void) == (95, 85, 5, False)
    assert score.accuracy == 85 / 95
    assert (score.low, score.high) == wilson(85, 95)
    assert [(item.correct, item.answer, item.error) for item in score.items[95:]] == [(None, None, "connection refused")] * 5


def test_more_than_five_percent_errors_make_a_score_void(make_score: Any) -> None:
    assert not make_score("binary-3", 50, failed=range(5)).void
    score = make_score("binary-3", 50, failed=range(6))
    assert score.void
    assert not score.counts


def test_score_without_any_answer_is_void_and_knows_nothing(make_score: Any) -> None:
    score = make_score("binary-3", 50, failed=range(100))
    assert (score.n, score.correct, score.accuracy, score.low, score.high, score.void) == (0, 0, None, 0.0, 1.0, True)
    assert score.tokens_per_s is None


def test_empty_answer_is_wrong_and_no_error(suites: dict[str, Suite]) -> None:
    score = grade_answers(suites["binary-3"], {item.id: Reply(answer="") for item in suites["binary-3"].items}, SITTING)
    assert (score.n, score.correct, score.errors, score.accuracy) == (100, 0, 0, 0.0)


def test_speed_counts_response_tokens_over_wall_time(suites: dict[str, Suite]) -> None:
    items = suites["binary-3"].items
    score = grade_answers(suites["binary-3"], {item.id: Reply(answer="1", tokens=3) for item in items}, SITTING)
    assert score.tokens_per_s == 150.0
    unknown = {item.id: Reply(answer="1", tokens=3 if place else None) for place, item in enumerate(items)}
    assert grade_answers(suites["binary-3"], unknown, SITTING).tokens_per_s is None


def test_replies_that_do_not_match_the_items_are_refused(suites: dict[str, Suite]) -> None:
    replies = {item.id: Reply(answer="1") for item in suites["binary-3"].items[1:]} | {"stranger": Reply(answer="1")}
    with pytest.raises(InvalidData, match="1 of 100 items have no reply, 1 are unknown"):
        grade_answers(suites["binary-3"], replies, SITTING)


@pytest.mark.parametrize("reply", [Reply(), Reply(answer="1", error="timed out")])
def test_reply_that_is_neither_answer_nor_error_is_refused(suites: dict[str, Suite], reply: Reply) -> None:
    with pytest.raises(InvalidData, match="exactly one"):
        grade_answers(suites["binary-3"], {item.id: reply for item in suites["binary-3"].items}, SITTING)


def test_score_survives_writing_and_reading(tmp_path: Path, make_score: Any) -> None:
    score = make_score("binary-3", 50, wrong=range(3), failed=range(97, 100))
    path = write_score(ModelPaths(tmp_path), score)
    assert path == tmp_path / "scores" / "checkpoint-50-20261120-2130" / "binary-3-20261120-213005123-local.json"
    book = read_scores(ModelPaths(tmp_path))
    assert book.scores == (score,)
    assert book.unread == ()


def test_written_score_is_never_overwritten(tmp_path: Path, make_score: Any) -> None:
    path = write_score(ModelPaths(tmp_path), make_score("binary-3", 50))
    before = path.read_bytes()
    with pytest.raises(AlreadyExists):
        write_score(ModelPaths(tmp_path), make_score("binary-3", 50, wrong=range(9)))
    assert path.read_bytes() == before


@pytest.mark.parametrize("fields", [{"checkpoint": "../elsewhere"}, {"host": "a/b"}, {"suite": ".."}])
def test_score_with_a_path_for_a_name_is_not_written(tmp_path: Path, make_score: Any, fields: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        write_score(ModelPaths(tmp_path), msgspec.structs.replace(make_score("binary-3", 50), **fields))
    assert list(tmp_path.iterdir()) == []


def test_loss_that_is_not_finite_is_not_written(tmp_path: Path, make_score: Any) -> None:
    with pytest.raises(InvalidData, match="not a JSON number"):
        write_score(ModelPaths(tmp_path), msgspec.structs.replace(make_score("binary-3", 50), loss=float("nan")))
    assert read_scores(ModelPaths(tmp_path)).scores == ()


def test_scores_come_in_the_order_of_integer_steps_then_time(tmp_path: Path, make_score: Any) -> None:
    model = ModelPaths(tmp_path)
    for suite, step, at in (("binary-1", 1000, "21:30:05"), ("binary-2", 200, "21:40:00"), ("binary-1", 200, "21:35:00")):
        write_score(model, make_score(suite, step, at=at))
    found = [(score.checkpoint.split("-")[1], score.suite) for score in read_scores(model).scores]
    assert found == [("200", "binary-1"), ("200", "binary-2"), ("1000", "binary-1")]


def test_bad_files_are_reported_and_hide_no_score(tmp_path: Path, make_score: Any) -> None:
    model = ModelPaths(tmp_path)
    good = make_score("binary-1", 50)
    whole = write_score(model, good).read_bytes()
    folder = model.scores(good.checkpoint)
    (folder / "newer.json").write_bytes(whole.replace(b"weaver.score/1", b"weaver.score/2"))
    (folder / "torn.json").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.json").write_bytes(b"")
    (folder / "folder.json").mkdir()
    (folder / ".half-written.json").write_bytes(b"{")
    (folder / "notes.txt").write_bytes(b"not a score")
    other = model.scores("checkpoint-60-20261120-2131")
    other.mkdir()
    (other / "misplaced.json").write_bytes(whole)
    book = read_scores(model)
    assert book.scores == (good,)
    reasons = {unread.path.name: unread.reason for unread in book.unread}
    assert sorted(reasons) == ["empty.json", "folder.json", "misplaced.json", "newer.json", "torn.json"]
    assert "weaver.score/2" in reasons["newer.json"] and "left alone" in reasons["newer.json"]
    assert "not a whole weaver.score/1 record" in reasons["torn.json"]
    assert "expected 'checkpoint-60-20261120-2131'" in reasons["misplaced.json"]
    assert (folder / "torn.json").read_bytes() == whole[: len(whole) // 2]


def test_only_the_scores_of_the_named_checkpoints_are_read(tmp_path: Path, make_score: Any) -> None:
    model = ModelPaths(tmp_path)
    kept, other = make_score("binary-1", 50), make_score("binary-1", 60)
    for score in (kept, other):
        write_score(model, score)
    assert read_scores(model, [kept.checkpoint]).scores == (kept,)
    assert list(each_score(model, {other.checkpoint})) == [other]
    assert read_scores(model, []).scores == ()


def test_model_without_scores_has_an_empty_book(tmp_path: Path) -> None:
    assert read_scores(ModelPaths(tmp_path / "missing")).scores == ()


def _practice(score: Score) -> Score:
    return msgspec.structs.replace(score, kind="practice")


def test_latest_score_is_the_last_that_counts(make_score: Any) -> None:
    scores = [
        make_score("binary-3", 50, wrong=range(1), at="21:31:00"),
        make_score("binary-3", 50, wrong=range(2), at="21:30:00"),
        make_score("binary-3", 50, failed=range(10), at="21:32:00"),
        _practice(make_score("binary-3", 50, at="21:33:00")),
        make_score("binary-1", 50),
    ]
    assert {suite: score.correct for suite, score in latest_by_suite(scores).items()} == {"binary-3": 99, "binary-1": 81}


def test_best_score_is_the_first_of_the_highest_that_count(make_score: Any) -> None:
    scores = [
        make_score("binary-3", 10, wrong=range(5)),
        make_score("binary-3", 20, wrong=range(2)),
        make_score("binary-3", 30, wrong=range(2)),
        make_score("binary-3", 40, failed=range(10)),
        _practice(make_score("binary-3", 50)),
    ]
    assert best_by_suite(scores)["binary-3"].checkpoint == "checkpoint-20-20261120-2130"


def test_pairing_names_what_only_one_got_right(make_score: Any, suites: dict[str, Suite]) -> None:
    ids = [item.id for item in suites["binary-3"].items]
    first, other = make_score("binary-3", 60, wrong=range(0, 8)), make_score("binary-3", 50, wrong=range(5, 10))
    pairing = pair(first, other)
    assert (pairing.n, list(pairing.better), list(pairing.worse)) == (100, ids[8:10], ids[:5])
    assert pairing.effect == -0.03
    assert pair(other, first).better == pairing.worse


def test_pairing_leaves_out_what_either_did_not_answer(make_score: Any) -> None:
    first = make_score("binary-3", 60, wrong=range(0, 8), failed=range(6, 9))
    other = make_score("binary-3", 50, failed=range(0, 2))
    assert (pair(first, other).n, len(pair(first, other).worse)) == (95, 4)


def test_pairing_of_other_suites_is_empty(make_score: Any) -> None:
    pairing = pair(make_score("binary-1", 60), make_score("syllables-1", 50))
    assert (pairing.n, pairing.better, pairing.worse, pairing.effect) == (0, (), (), 0.0)


def test_record_has_exactly_the_fields_of_the_contract(make_score: Any) -> None:
    plain = records.to_builtins(make_score("binary-3", 50))
    assert sorted(plain) == [
        "accuracy", "checkpoint", "correct", "decoding", "errors", "finished_at", "high", "host", "items", "kind", "level",
        "loss", "low", "model", "n", "schema", "skill", "started_at", "suite", "suite_sha256", "tokens_per_s", "void",
        "weights_id",
    ]  # fmt: skip
    assert plain["schema"] == "weaver.score/1"
    assert set(plain["items"][0]) == {"id", "digest", "answer", "correct", "logprob", "tokens", "ms", "error"}
