"""The deployments read as a history: what is served, what was."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from core.checkpoints.deployment import Deployment
from core.checkpoints.served import (
    Serving,
    append_deployment,
    ever_served,
    read_deployments,
    read_serving,
    rolled_back,
    served,
    serving_path,
    write_serving,
)  # fmt: skip
from core.paths import Paths

Verdict = Literal["deployed", "rolled_back", "refused", "failed"]


def decision(checkpoint: str, verdict: Verdict, previous: str | None = None) -> Deployment:
    return Deployment(
        id=f"{checkpoint}-{verdict}", at="2026-11-20T21:30:00.000Z", model="tiny", checkpoint=checkpoint, weights_id="0" * 16,
        previous=previous, host="local", alias="champion", verdict=verdict, reason="test",
        test=None, by_suite=[], guards=[], proof=None,
        by="deploy_best",
    )  # fmt: skip


def test_only_deployments_and_rollbacks_change_what_is_served() -> None:
    history = [decision("a", "deployed"), decision("b", "refused", "a"), decision("c", "failed", "a")]
    assert served(history) == ("a", None)
    history.append(decision("c", "deployed", "a"))
    assert served(history) == ("c", "a")


def test_rollback_serves_the_previous_and_the_bad_one_is_not_gone_back_to() -> None:
    history = [decision("a", "deployed"), decision("b", "deployed", "a"), decision("c", "deployed", "b")]
    history.append(decision("c", "rolled_back", "b"))
    assert served(history) == ("b", "a")
    assert rolled_back(history) == {"c"}
    assert ever_served(history) == ["a", "b"]


def test_rollback_of_the_first_deployment_serves_nothing() -> None:
    assert served([decision("a", "deployed"), decision("a", "rolled_back")]) == (None, None)
    assert served([]) == (None, None)


def test_torn_tail_of_the_deployments_is_passed_over_and_later_ones_are_read(tmp_path: Path) -> None:
    model = Paths(tmp_path).model("tiny")
    model.root.mkdir(parents=True)
    append_deployment(model, decision("a", "deployed"))
    with model.deployments.open("ab") as file:
        file.write(b'0123abcd {"schema":"weaver.depl')
    append_deployment(model, decision("b", "deployed", "a"))
    assert [item.checkpoint for item in read_deployments(model)] == ["a", "b"]


def test_damaged_view_is_none(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert read_serving(paths) is None
    view = Serving(
        deployment="1", model="tiny", checkpoint="tiny/a", weights_id="0" * 16, host="local", alias="champion",
        deployed_at="2026-11-20T21:30:00.000Z", verified_at="2026-11-20T21:30:00.000Z", oracle=None,
    )  # fmt: skip
    write_serving(paths, view)
    assert read_serving(paths) == view
    serving_path(paths).write_bytes(b"{")
    assert read_serving(paths) is None
