"""The home: found by variable or from where one stands, its folders made once, its secrets in a private one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from core.errors import NoHome
from core.paths import PRIORITIES, STATES, ModelPaths, Paths, find_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "a home"
    (home / "config").mkdir(parents=True)
    (home / "config" / "hosts.json").write_text("{}")
    return home


def test_variable_goes_before_the_folder_one_stands_in(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "config").mkdir(parents=True)
    (other / "config" / "hosts.json").write_text("{}")
    assert find_home({"WEAVER_HOME": str(home)}, other) == (home, "WEAVER_HOME")
    assert find_home({}, other) == (other, f"config/hosts.json in {other}")
    assert find_home({"WEAVER_HOME": ""}, other)[0] == other


def test_home_is_found_from_any_folder_below_it_and_the_nearest_one_wins(home: Path) -> None:
    deep = home / "queue" / "inbox" / "high"
    deep.mkdir(parents=True)
    assert find_home({}, deep)[0] == home
    (home / "queue" / "config").mkdir()
    (home / "queue" / "config" / "hosts.json").write_text("{}")
    assert find_home({}, deep)[0] == home / "queue"


def test_link_to_the_home_names_the_home_itself(home: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    assert find_home({"WEAVER_HOME": str(link)}, tmp_path)[0] == home == find_home({}, link)[0]
    assert Paths(link).home_id == Paths(home).home_id != Paths(tmp_path).home_id


def test_relative_variable_and_tilde_become_a_whole_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.parent)
    monkeypatch.setenv("HOME", str(home.parent))
    for text in (home.name, f"./{home.name}/", f"~/{home.name}"):
        assert find_home({"WEAVER_HOME": text}, Path("/")) == (home, "WEAVER_HOME")


@pytest.mark.parametrize("named", ["nowhere", "~no-such-user-here/x", "hosts.json"])
def test_variable_that_names_no_home_is_an_error_that_says_so_and_is_not_passed_over(home: Path, named: str) -> None:
    with pytest.raises(NoHome) as caught:
        find_home({"WEAVER_HOME": named}, home)
    assert caught.value.exit_code == 6
    assert f"WEAVER_HOME is {named}" in str(caught.value)


def test_no_home_anywhere_is_an_error_that_says_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(NoHome, match="WEAVER_HOME is not set") as caught:
        find_home({}, tmp_path)
    assert str(tmp_path) in str(caught.value) and caught.value.exit_code == 6
    (tmp_path / "config" / "hosts.json").mkdir(parents=True)
    with pytest.raises(NoHome):
        find_home({}, tmp_path)


def test_folders_are_made_once_and_again_when_they_are_gone(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for _ in range(2):
        paths.make()
        there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
        assert {f"queue/{state}" for state in STATES} <= there
        wanted = {"queue/inbox/high", "queue/inbox/low", "queue/.building", "queue/orders/done", "status/procs", "logs/events"}
        assert wanted | {"models", "config/local/tokens"} <= there
        (paths.inbox / "high").rmdir()
    assert set(PRIORITIES) < set(STATES)


def test_what_weaver_writes_into_config_is_private_even_when_it_was_not(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.local.mkdir(parents=True, mode=0o755)
    paths.make()
    assert paths.local.stat().st_mode & 0o777 == 0o700
    assert paths.tokens.parent == paths.local == paths.desired.parent


@pytest.mark.parametrize("state", ["inbox", "done", "../x", ""])
def test_unknown_state_has_no_folder(tmp_path: Path, state: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Paths(tmp_path).state(state)


def test_everything_lies_below_the_home_and_no_two_things_at_one_place(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    model = paths.model("tiny")
    plain = [getattr(paths, name) for name in vars(Paths) if isinstance(vars(Paths)[name], property) and name != "home_id"]
    of_model = [getattr(model, name) for name in vars(ModelPaths) if isinstance(vars(ModelPaths)[name], property)]
    made = [model.checkpoint("c"), model.training_state("c"), model.ledger("c"), model.scores("c"), paths.heartbeat("web")]
    everything = [*plain, *of_model, *made, *(paths.state(state) for state in STATES)]
    assert len(everything) > 30 and len(set(everything)) == len(everything)
    assert all(tmp_path in path.parents for path in everything)
    assert [field.name for field in fields(Paths)] == ["home"]
