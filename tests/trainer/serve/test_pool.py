"""The pool: three places, who leaves them, and which name means what."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from core.checkpoints.champion import Champion, read_champion
from core.checkpoints.ledger import manifest_id
from core.errors import InvalidData, ManifestMismatch
from core.files import replace_durable
from core.paths import Paths
from core.records import encode_pretty
from tests.trainer.serve.oracle_home import add_checkpoint, name_of
from trainer.serve.api_errors import ApiError
from trainer.serve.loaded import Target
from trainer.serve.names import Names
from trainer.serve.pool import Pool

NOW = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)


def pool_of(paths: Paths, wanted: set[str] | None = None) -> Pool:
    names = wanted or set()
    return Pool(paths, "cpu", logging.getLogger("test.pool"), lambda id_: id_ in names)


def at(step: int, model: str = "tiny") -> Target:
    return Target(model, name_of(step))


def held(pool: Pool) -> list[str]:
    return [loaded.id for loaded in pool.loaded.values()]


def test_fourth_checkpoint_takes_the_place_of_the_least_recently_used(template: Paths) -> None:
    pool = pool_of(template)
    for step in (0, 10, 20):
        pool.get(at(step))
    pool.get(at(0))
    pool.get(at(30))
    assert held(pool) == [at(20).id, at(0).id, at(30).id]
    assert pool.held == {at(step).id for step in (0, 10, 20, 30)}


def test_loaded_checkpoint_is_not_loaded_again(template: Paths) -> None:
    pool = pool_of(template)
    assert pool.get(at(0)) is pool.get(at(0))


def test_alias_and_what_is_waited_for_are_never_evicted(home: Paths) -> None:
    wanted = {at(10).id}
    pool = pool_of(home, wanted)
    pool.set_alias("tiny/champion", at(0), NOW)
    pool.get(at(10))
    for step in (20, 30, 40):
        pool.get(at(step))
        assert set(held(pool)) == {at(0).id, at(10).id, at(step).id}
    wanted.add(at(40).id)
    with pytest.raises(ApiError, match="all 3 places are taken by aliases or busy models") as caught:
        pool.get(at(20))
    assert (caught.value.status, caught.value.code) == (503, "pool_full")
    wanted.clear()
    pool.get(at(20))
    assert at(0).id in held(pool)


def test_old_champion_may_be_evicted_once_the_alias_has_moved(home: Paths) -> None:
    pool = pool_of(home)
    pool.set_alias("tiny/champion", at(0), NOW)
    pool.set_alias("tiny/champion", at(10), NOW)
    for step in (20, 30):
        pool.get(at(step))
    assert set(held(pool)) == {at(10).id, at(20).id, at(30).id}


def test_alias_is_recorded_durably_with_its_weights(home: Paths) -> None:
    pool = pool_of(home)
    loaded = pool.set_alias("tiny/champion", at(10), NOW)
    assert read_champion(home, "tiny") == Champion(
        alias="tiny/champion", checkpoint=name_of(10), weights_id=loaded.weights_id, at="2026-11-20T21:30:00.000Z"
    )
    again = pool_of(home)
    again.read_aliases()
    again.restore("tiny/champion")
    assert again.aliases == {"tiny/champion": Target("tiny", name_of(10), loaded.weights_id)}
    assert held(again) == [at(10).id]


def test_corrupt_checkpoint_becomes_no_alias_and_the_old_one_stays(home: Paths) -> None:
    pool = pool_of(home)
    pool.set_alias("tiny/champion", at(0), NOW)
    weights = home.model("tiny").checkpoint(name_of(10)) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ManifestMismatch):
        pool.set_alias("tiny/champion", at(10), NOW)
    assert pool.aliases["tiny/champion"].checkpoint == name_of(0)
    champion = read_champion(home, "tiny")
    assert champion is not None and champion.checkpoint == name_of(0)


def test_alias_whose_weights_changed_answers_nothing_and_says_why(home: Paths) -> None:
    champion = Champion(alias="tiny/champion", checkpoint=name_of(10), weights_id="0" * 16, at="x")
    replace_durable(home.model("tiny").champion, encode_pretty(champion))
    pool = pool_of(home)
    pool.read_aliases()
    pool.restore("tiny/champion")
    assert pool.aliases == {} and held(pool) == []
    with pytest.raises(ApiError, match=r"the alias was not restored .*expected 0000000000000000") as caught:
        Names(home, pool, "tiny").resolve("champion")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_damaged_alias_file_breaks_only_that_alias(home: Paths) -> None:
    home.model("other").champion.write_bytes(b"{torn")
    pool_of(home).set_alias("tiny/champion", at(10), NOW)
    pool = pool_of(home)
    pool.read_aliases()
    assert set(pool.aliases) == {"tiny/champion"} and set(pool.broken) == {"other/champion"}


def test_unload_spares_aliases_and_what_is_waited_for(home: Paths) -> None:
    wanted = {at(10).id}
    pool = pool_of(home, wanted)
    pool.set_alias("tiny/champion", at(0), NOW)
    pool.get(at(10))
    for step in (0, 10):
        with pytest.raises(ApiError, match="it stays") as caught:
            pool.unload(at(step))
        assert caught.value.status == 409
    wanted.clear()
    pool.unload(at(10))
    pool.unload(at(10))
    assert held(pool) == [at(0).id]


def test_every_form_of_a_name_means_the_checkpoint_asked_for(home: Paths) -> None:
    pool = pool_of(home)
    names = Names(home, pool, "tiny")
    for name in (at(20).id, name_of(20), "tiny@20"):
        assert names.resolve(name) == at(20)
    assert names.resolve("other@7") == at(7, "other")
    pool.set_alias("tiny/champion", at(30), NOW)
    pool.set_alias("other/champion", at(7, "other"), NOW)
    assert names.resolve("champion").id == names.resolve("tiny/champion").id == at(30).id
    assert names.resolve("other/champion").id == at(7, "other").id
    assert names.available()[:3] == ["champion", "tiny/champion", "other/champion"]


@pytest.mark.parametrize(
    "name",
    ["tiny", "tiny@99", "tiny/checkpoint-99-20261120-2130", "champion", "none/champion", "../tiny/" + name_of(0), "tiny@",
     f"tiny/{name_of(0)}/", f"/tiny/{name_of(0)}", "tiny/../tiny/" + name_of(0), "TINY@0", ".staging", "tiny/.staging/x"],
)  # fmt: skip
def test_unknown_name_is_a_404_with_the_list_and_nothing_is_loaded(template: Paths, name: str) -> None:
    pool = pool_of(template)
    with pytest.raises(ApiError) as caught:
        Names(template, pool, "tiny").resolve(name)
    body = caught.value.body()["error"]
    assert (caught.value.status, body["code"], body["param"]) == (404, "model_not_found", "model")
    assert body["available"] == [at(7, "other").id, *(at(step).id for step in (40, 30, 20, 10, 0))]
    assert held(pool) == []


def test_name_of_several_checkpoints_is_refused_with_their_ids(home: Paths) -> None:
    add_checkpoint(home, "other", 10, seed=3)
    second = add_checkpoint(home, "tiny", 10, seed=4, name=f"{name_of(10)}-2")
    names = Names(home, pool_of(home), "tiny")
    for name in (name_of(10), "tiny@10"):
        with pytest.raises(ApiError, match=f"several checkpoints are called that.*tiny/{name_of(10)}"):
            names.resolve(name)
    assert names.resolve(f"tiny/{second}").checkpoint == second


def test_private_and_unfinished_folders_are_not_there(home: Paths) -> None:
    model = home.model("tiny")
    model.staging.mkdir()
    model.checkpoint(name_of(40)).rename(model.staging / name_of(40))
    (model.checkpoint(name_of(30)) / "MANIFEST.sha256").unlink()
    names = Names(home, pool_of(home), "tiny")
    assert names.checkpoints() == [at(7, "other").id, *(at(step).id for step in (20, 10, 0))]
    with pytest.raises(ApiError):
        names.resolve("tiny@40")


def test_checkpoint_in_memory_answers_after_its_folder_is_gone(home: Paths) -> None:
    pool = pool_of(home)
    pool.get(at(10))
    home.model("tiny").checkpoint(name_of(10)).rename(home.home / "gone")
    assert pool.get(Names(home, pool, "tiny").resolve(at(10).id)).weights_id == manifest_id(home.home / "gone")
    with pytest.raises(InvalidData):
        pool.get(Target("tiny", name_of(10), "f" * 16))
