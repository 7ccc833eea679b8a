"""weaver ckpt, as a person types it: the best, pins, and removals that leave what is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.checkpoints.checkpoint import Head
from core.checkpoints.deployment import Deployment
from core.checkpoints.ledger import Ledger
from core.checkpoints.places import Ranked, Ranking
from core.checkpoints.served import append_deployment
from core.paths import Paths
from core.records import encode_pretty
from tests.core.checkpoints.checkpoint_builder import make_checkpoint, make_record, make_state
from tests.core.home_files import make_home
from tests.weaver.cli.command import weaver
from tests.weaver.cli.oracle_stub import oracle_with

AT = "2026-11-20T21:30:00.000Z"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_home(tmp_path / "home")


@pytest.fixture
def names(paths: Paths) -> list[str]:
    """Six checkpoints with states, head at the fifth, the sixth ahead of it; the third served, the second before it."""
    found: list[str] = []
    for step in range(0, 60, 10):
        found.append(make_checkpoint(paths, step, found[-1] if found else None))
        make_state(paths, found[-1])
    Ledger(paths).write_head("tiny", Head(checkpoint=found[4], reason="test", at=AT))
    deploy(paths, found[1], None)
    deploy(paths, found[2], found[1])
    return found


def deploy(paths: Paths, checkpoint: str, previous: str | None) -> None:
    append_deployment(paths.model("tiny"), Deployment(
        id=checkpoint, at=AT, model="tiny", checkpoint=checkpoint, weights_id=None, previous=previous, host="local",
        alias="champion", verdict="deployed", reason="test", test=None, by_suite=[], guards=[], proof=None, by="deploy_best",
    ))  # fmt: skip


def rank(paths: Paths, *rows: tuple[str, float, float | None]) -> None:
    places = [
        Ranked(place=n, checkpoint=name, accuracy=accuracy, low=0, high=0, composite=composite, eligible=True, reasons=[])
        for n, (name, accuracy, composite) in enumerate(rows, 1)
    ]
    (paths.status / "ranking.json").write_bytes(encode_pretty(Ranking(models={"tiny": places})))


def test_best_is_named_by_each_metric(paths: Paths, names: list[str]) -> None:
    rank(paths, (names[3], 0.9, 0.5), (names[1], 0.8, 0.7))
    better = make_record("tiny", names[2], 20, names[1])
    folder = paths.model("tiny")
    lower = encode_pretty(better).replace(b'"train_loss": 0.5', b'"train_loss": 0.25')
    (folder.checkpoint(names[2]) / ".ledger.json").write_bytes(lower)
    for metric, name, value in (("accuracy", names[3], 0.9), ("composite", names[1], 0.7), ("loss", names[2], 0.25)):
        done = weaver(paths.home, "ckpt", "best", "--metric", metric, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["schema"], found["metric"]) == ("weaver.best/1", metric)
        assert found["best"] == [{"model": "tiny", "checkpoint": f"tiny/{name}", "value": value}]
    assert weaver(paths.home, "ckpt", "best").stdout.split() == [f"tiny/{names[3]}", "accuracy", "0.9000"]


def test_best_of_nothing_measured_is_5_and_by_an_unknown_metric_is_2(paths: Paths, names: list[str]) -> None:
    done = weaver(paths.home, "ckpt", "best")
    assert (done.returncode, done.stdout) == (5, "") and "nothing was measured yet" in done.stderr
    done = weaver(paths.home, "ckpt", "best", "--metric", "beauty")
    assert (done.returncode, done.stdout) == (2, "") and "composite" in done.stderr
    assert weaver(paths.home, "ckpt", "best", "nope").returncode == 5


def test_pin_is_written_with_its_note_shown_and_taken_away(paths: Paths, names: list[str]) -> None:
    assert weaver(paths.home, "ckpt", "pin", "tiny@30", "--note", "sent out").returncode == 0
    pin = json.loads((paths.model("tiny").pins / f"{names[3]}.json").read_text())
    assert (pin["schema"], pin["checkpoint"], pin["reason"]) == ("weaver.pin/1", names[3], "sent out")
    rows = json.loads(weaver(paths.home, "ckpt", "ls", "--json").stdout)["checkpoints"]
    assert [row["id"] for row in rows if row["pinned"]] == [f"tiny/{names[3]}"]
    assert [row["id"] for row in rows if row["served"]] == [f"tiny/{names[2]}"]
    assert weaver(paths.home, "ckpt", "unpin", names[3]).returncode == 0
    assert Ledger(paths).pins("tiny") == set()
    done = weaver(paths.home, "ckpt", "unpin", names[3])
    assert (done.returncode, done.stdout) == (5, "") and "Known: none" in done.stderr
    assert weaver(paths.home, "ckpt", "pin", "tiny@99").returncode == 5


def test_removed_checkpoint_keeps_its_record_and_frees_what_was_announced(paths: Paths, names: list[str]) -> None:
    folder = paths.model("tiny")
    before = sum(path.stat().st_size for name in (folder.checkpoint(names[3]), folder.training_state(names[3]))
                 for path in name.rglob("*") if path.is_file())  # fmt: skip
    done = weaver(paths.home, "ckpt", "rm", f"tiny/{names[3]}", "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["schema"], found["dry_run"], found["bytes"]) == (0, "weaver.removal/1", True, before)
    assert folder.checkpoint(names[3]).is_dir()
    folder.ledger(names[3]).unlink()
    assert weaver(paths.home, "ckpt", "rm", "tiny@30", "--yes").returncode == 0
    assert not folder.checkpoint(names[3]).exists() and not folder.training_state(names[3]).exists()
    assert list(folder.trash.iterdir()) == []
    assert json.loads(weaver(paths.home, "ckpt", "show", names[3], "--json").stdout)["step"] == 30
    assert weaver(paths.home, "ckpt", "verify").returncode == 0


@pytest.mark.parametrize("kind", ["weights", "state"])
def test_verify_finds_a_byte_that_differs_in_weights_or_training_state(paths: Paths, names: list[str], kind: str) -> None:
    model = paths.model("tiny")
    folder = model.checkpoint(names[5]) if kind == "weights" else model.training_state(names[5])
    path = next(path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".pt"))
    path.write_bytes(path.read_bytes() + b"x")
    done = weaver(paths.home, "ckpt", "verify")
    assert done.returncode == 6
    [bad] = [line for line in done.stdout.splitlines() if "BAD" in line]
    assert bad.startswith(f"tiny/{names[5]} ") and f"{path.name} hashes to" in bad
    assert weaver(paths.home, "ckpt", "verify", names[4]).returncode == 0
    checked = weaver(paths.home, "doctor")
    assert f"{path.name} hashes to" in checked.stdout, "and so does the doctor, of the newest"


def test_removal_asks_first(paths: Paths, names: list[str]) -> None:
    done = weaver(paths.home, "ckpt", "rm", names[3], stdin="n\n")
    assert done.returncode == 1 and "Nothing was removed" in done.stderr
    assert Ledger(paths).is_complete("tiny", names[3])
    assert weaver(paths.home, "ckpt", "rm", names[3], stdin="y\n").returncode == 0
    assert not Ledger(paths).is_complete("tiny", names[3])


@pytest.mark.parametrize(
    ("which", "words"),
    [(0, "the base"), (1, "a rollback goes back"), (2, "is served"), (4, "the head"), (5, "training goes on from it")],
)
def test_what_is_needed_stays_and_says_why(paths: Paths, names: list[str], which: int, words: str) -> None:
    for extra in (["--yes"], ["--dry-run"]):
        done = weaver(paths.home, "ckpt", "rm", names[3], names[which], *extra)
        assert done.returncode == 7 and words in done.stderr + done.stdout
    assert Ledger(paths).names("tiny") == names


def test_pinned_checkpoint_stays(paths: Paths, names: list[str]) -> None:
    assert weaver(paths.home, "ckpt", "pin", names[3]).returncode == 0
    done = weaver(paths.home, "ckpt", "rm", names[3], "--yes")
    assert done.returncode == 7 and "weaver ckpt unpin" in done.stderr
    assert Ledger(paths).is_complete("tiny", names[3])


def test_checkpoint_that_the_oracle_has_in_memory_stays(paths: Paths, names: list[str]) -> None:
    with oracle_with(paths, f"tiny/{names[3]}"):
        done = weaver(paths.home, "ckpt", "rm", names[3], "--yes")
    assert done.returncode == 7 and "the oracle has it in memory" in done.stderr
    with oracle_with(paths):
        assert weaver(paths.home, "ckpt", "rm", names[3], "--yes").returncode == 0


def test_name_that_two_models_have_must_be_given_in_full(paths: Paths, names: list[str]) -> None:
    make_checkpoint(paths, 30, None, model="other")
    done = weaver(paths.home, "ckpt", "rm", names[3], "--yes")
    assert done.returncode == 5 and f"other/{names[3]}" in done.stderr
    assert Ledger(paths).names("tiny") == names
