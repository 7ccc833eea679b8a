"""A checkpoint broken on the disk is nobody's: not trained from, not examined, not deployed; what serves goes on serving.

Every kind of damage (tests/faults/broken_checkpoints.py) meets every reader of checkpoints, each of them the real code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.checkpoints.champion import read_champion
from core.checkpoints.history import newest_complete
from core.checkpoints.ledger import verify
from core.checkpoints.served import read_deployments
from core.errors import InvalidConfig, RemoteRefused
from core.orders import QUEUE_OWNER, pending
from tests.faults.broken_checkpoints import (
    IN_STATE,
    IN_WEIGHTS,
    LINES,
    MODEL,
    Factory,
    empty_the_folder,
    flip_a_bit,
    flip_a_bit_of_a_small_file,
    lose_the_manifest,
)
from tests.trainer.training_home import TrainingHome, sums
from trainer.model import BUILTIN
from weaver.doctor import examine

pytestmark = pytest.mark.timeout(600)
QUESTION = [[{"role": "user", "content": "1010 xor 0110"}]]
Damage = Callable[[Path], None]


def named(damage: Damage) -> str:
    return damage.__name__


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    """A factory that trained two jobs to a checkpoint each, and serves the first of them."""
    factory = Factory.make(tmp_path_factory.mktemp("lived") / "home")
    base = factory.ledger.names(MODEL)[0]
    factory.score(base, wrong=60)
    factory.train("first")
    first = factory.last().name
    factory.score(first, wrong=40)
    with factory.oracle():
        factory.evaluate()
    assert served(factory) == first
    factory.train("second")
    assert factory.last().parent == first
    assert factory.audit().ok, factory.audit()
    return factory


def served(factory: Factory) -> str | None:
    champion = read_champion(factory.paths, MODEL)
    return champion.checkpoint if champion else None


@pytest.mark.parametrize("damage", IN_WEIGHTS, ids=named)
def test_newest_checkpoint_that_is_broken_is_neither_examined_nor_deployed(
    lived: Factory, tmp_path: Path, damage: Damage
) -> None:
    factory = lived.copy(tmp_path / "home")
    first, newest = factory.last().parent, factory.last().name
    damage(factory.mine.checkpoint(newest))
    found = {check.name: check for check in examine({"WEAVER_HOME": str(factory.paths.home)}, factory.paths.home).checks}
    assert (found["checkpoint"].result, newest in found["checkpoint"].found) == ("fail", True)
    with factory.oracle() as running:
        factory.evaluate()
        assert not list(factory.mine.scores(newest).glob("*")), "a broken checkpoint was examined"
        factory.score(newest, wrong=0)  # examined, and then it broke
        factory.evaluate()
        for call in (running.client().load, lambda name: running.client().answer(name, QUESTION, 3)):
            with pytest.raises(RemoteRefused):
                call(f"{MODEL}/{newest}")
        assert running.client().answer("champion", QUESTION, 3).model == f"{MODEL}/{first}"
    assert served(factory) == first
    assert newest not in {one.checkpoint for one in read_deployments(factory.mine) if one.verdict == "deployed"}
    assert any(newest in text for text in factory.broken("I7"))


@pytest.mark.parametrize("damage", IN_WEIGHTS, ids=named)
def test_served_checkpoint_that_breaks_is_served_from_memory_and_left_by_the_next_oracle(
    lived: Factory, tmp_path: Path, damage: Damage
) -> None:
    factory = lived.copy(tmp_path / "home")
    first, chosen = factory.last().parent, factory.last().name
    factory.score(chosen, wrong=0)
    with factory.oracle() as running:
        factory.evaluate()
        assert served(factory) == chosen
        before = running.client().answer("champion", QUESTION, 8)
        damage(factory.mine.checkpoint(chosen))
        after = running.client().answer("champion", QUESTION, 8)
        assert (after.model, after.system_fingerprint) == (f"{MODEL}/{chosen}", before.system_fingerprint)
        assert [one.text for one in after.answers] == [one.text for one in before.answers]
        factory.evaluate()
        # What cannot be proved any more, as its fingerprint is gone, is left at once.
        assert served(factory) == (first if damage is empty_the_folder else chosen)
    with factory.oracle() as running:
        factory.evaluate()
        answer = running.client().answer("champion", QUESTION, 8)
    assert answer.model == f"{MODEL}/{first}"
    assert served(factory) == first
    assert read_deployments(factory.mine)[-1].verdict == "rolled_back"
    assert any(chosen in text for text in factory.broken("I7"))
    assert factory.broken("I8") == []


@pytest.mark.parametrize(
    ("place", "damage"),
    [("weights", damage) for damage in IN_WEIGHTS] + [("state", damage) for damage in IN_STATE],
    ids=lambda value: value if isinstance(value, str) else named(value),
)
def test_training_goes_on_from_the_last_whole_checkpoint_and_every_line_is_accounted_for(
    lived: Factory, tmp_path: Path, place: str, damage: Damage
) -> None:
    factory = lived.copy(tmp_path / "home")
    first, newest = factory.last().parent, factory.last().name
    damage(factory.mine.checkpoint(newest) if place == "weights" else factory.mine.training_state(newest))
    factory.train("third")
    assert factory.last().parent == first
    assert newest not in factory.ledger.chain(MODEL)
    assert factory.exit_codes == []
    found = factory.audit()
    assert [one.id for one in found.invariants if not one.ok] == ["I7"]
    assert (found.lines.dropped, found.lines.trained, found.lines.reverted) == (3 * LINES, 2 * LINES, LINES)
    assert all(newest in text for text in factory.broken("I7"))


def test_training_goes_back_over_several_broken_checkpoints_and_stops_aloud_where_none_is_whole(
    lived: Factory, tmp_path: Path
) -> None:
    factory = lived.copy(tmp_path / "home")
    newest, first, base = factory.ledger.chain(MODEL)
    flip_a_bit(factory.mine.checkpoint(newest))
    flip_a_bit(factory.mine.training_state(first))
    factory.train("third")
    assert factory.last().parent == base
    assert factory.audit().lines.reverted == 2 * LINES
    [reset] = [facts for event, facts in factory.events if event == "reset"]
    assert (reset["checkpoint"], reset["taken_back"]) == (base, [newest, first])
    assert f"reset by trainer: {newest} is broken: " in reset["reason"]
    flip_a_bit(factory.mine.training_state(factory.last().name))
    flip_a_bit(factory.mine.checkpoint(base))
    with pytest.raises(InvalidConfig, match="trainer"):  # misconfigured: parked, and shown red
        factory.train("fourth")
    assert factory.exit_codes == [78]
    assert pending(factory.paths, QUEUE_OWNER) == []


def test_nothing_is_taken_back_when_something_else_keeps_training_from_going_on(lived: Factory, tmp_path: Path) -> None:
    factory = lived.copy(tmp_path / "home")
    before = factory.ledger.head(MODEL)
    factory.mine.facts.unlink()
    with pytest.raises(InvalidConfig, match="trainer"):
        factory.train("third")
    assert factory.exit_codes == [78]
    assert (factory.ledger.head(MODEL), pending(factory.paths, QUEUE_OWNER)) == (before, [])


@pytest.mark.parametrize("damage", [flip_a_bit_of_a_small_file, lose_the_manifest, empty_the_folder], ids=named)
def test_trainer_whose_last_checkpoint_breaks_on_the_disk_goes_on_from_memory_and_hands_no_damage_on(
    lived: Factory, tmp_path: Path, damage: Damage
) -> None:
    def trained(name: str, damage: Damage) -> tuple[TrainingHome, str, str]:
        home = TrainingHome(lived.copy(tmp_path / name).paths.home, BUILTIN)
        engine = home.engine()
        assert engine.run_job(home.config(home.job("third", sums(LINES)))).success
        before = home.last().name
        damage(home.model.checkpoint(before))
        result = engine.run_job(home.config(home.job("fourth", sums(LINES)), parent=before))
        assert result.success, result.error
        return home, before, home.last().name

    home, before, last = trained("broken", damage)
    whole, _, same = trained("whole", lambda folder: None)
    verify(home.model.checkpoint(last))
    assert home.ledger.get(MODEL, last).parent == before
    assert home.hashes(last) == whole.hashes(same)
    theirs = whole.model.checkpoint(same)
    rest = {path.name for path in theirs.iterdir()} - {"README.md", "MANIFEST.sha256", ".ledger.json", "fingerprint.json"}
    assert all((home.model.checkpoint(last) / name).read_bytes() == (theirs / name).read_bytes() for name in rest)
    assert newest_complete(home.ledger, MODEL, before) == last
