"""The base model as the Weaver sees it."""

from __future__ import annotations

import pytest

from core.paths import Paths
from weaver.base_model import MOST_KILLS, BaseModel, has_base


def publish(paths: Paths, name: str) -> None:
    folder = paths.model("tiny").checkpoint(name)
    folder.mkdir(parents=True)
    (folder / "MANIFEST.sha256").write_bytes(b"")
    paths.model("tiny").facts.write_bytes(b"{}")


@pytest.mark.parametrize("name", [".staging", "state", "checkpoint-nonsense"])
def test_other_folders_are_no_checkpoint(paths: Paths, name: str) -> None:
    publish(paths, name)
    assert not has_base(paths, "tiny")


def test_missing_base_is_made_once_and_a_failure_stays_until_asked_again(paths: Paths) -> None:
    base = BaseModel(paths, "tiny")
    assert base.state == "missing"
    base.is_being_made()
    base.look_again("tiny")
    assert base.state == "building", "an attempt that is being made goes on"  # type: ignore[comparison-overlap]
    (paths.logs / "base_builder.out").write_text("No space left on device\n")
    base.settle(1)
    assert (base.state, base.reason) == ("failed", "exit code 1: No space left on device")
    base.look_again("tiny")
    assert (base.state, base.reason) == ("missing", "")
    publish(paths, "checkpoint-0-20261120-2130")
    base.settle(0)
    assert base.state == "ready"
    assert BaseModel(paths, "tiny").state == "ready"
    assert BaseModel(paths, "other").state == "missing"


def test_builder_that_claims_success_without_a_checkpoint_has_failed(paths: Paths) -> None:
    base = BaseModel(paths, "tiny")
    base.is_being_made()
    base.settle(0)
    assert base.state == "failed"


def test_checkpoint_without_the_locked_facts_is_half_a_base_and_is_finished(paths: Paths) -> None:
    publish(paths, "checkpoint-0-20261120-2130")
    paths.model("tiny").facts.unlink()
    assert BaseModel(paths, "tiny").state == "missing"


@pytest.mark.parametrize("code", [-9, None])
def test_killed_builder_is_tried_again_but_not_for_ever(paths: Paths, code: int | None) -> None:
    base = BaseModel(paths, "tiny")
    for _ in range(MOST_KILLS):
        base.is_being_made()
        base.settle(code)
        assert (base.state, base.reason) == ("missing", "")
    base.is_being_made()
    base.settle(code)
    assert base.state == "failed"
    base.look_again("tiny")
    base.settle(code)
    assert base.state == "missing", "who asks again gets all tries again"  # type: ignore[comparison-overlap]
