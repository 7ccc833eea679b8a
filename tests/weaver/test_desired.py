"""Which programs belong on a host, and what a person switched off."""

from __future__ import annotations

import pytest

from core.errors import InvalidData
from core.paths import Paths
from tests.fakes import switch_on
from weaver.desired import PROGRAMS, Desired, programs_for, read_off, unexplained


def names(*roles: str) -> set[str]:
    return {program.name for program in programs_for(roles)}


def test_each_role_brings_its_programs_and_no_others() -> None:
    assert names("inference") == {"oracle", "base_builder", "send_notices"}
    assert names("hub") == {"rank_checkpoints", "probe_checkpoints", "send_notices"}
    assert "oracle" not in names("trainer") and {"web", "train_next", "watch_inbox", "trainer"} <= names("trainer")
    assert names("trainer", "inference", "hub") == {program.name for program in PROGRAMS}
    assert names("storage") == set()


def test_starting_order_is_oracle_then_web_then_daemons() -> None:
    assert [program.name for program in PROGRAMS[:2]] == ["oracle", "web"]
    assert {program.stage for program in PROGRAMS[2:]} == {2, 3}


def test_trainer_is_looked_after_but_not_wanted() -> None:
    desired = Desired(programs=PROGRAMS)
    wanted = {program.name for program in desired.wanted}
    assert not wanted & {"trainer", "base_builder"}
    assert {"web", "oracle"} <= wanted


def test_missing_file_switches_nothing_off(paths: Paths) -> None:
    assert read_off(paths) == frozenset()
    switch_on(paths, "web")
    assert "web" not in read_off(paths) and "oracle" in read_off(paths)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"schema": "weaver.desired/1", "off": ["nobody"]}', '{"schema": "weaver.desired/1", "offf": []}',
     '{"schema": "weaver.desired/1", "off": [], "off": []}'],
)  # fmt: skip
def test_damaged_file_is_an_error_and_never_an_empty_wish(paths: Paths, text: str) -> None:
    paths.desired.write_text(text)
    with pytest.raises(InvalidData):
        read_off(paths)


@pytest.mark.parametrize(("name", "is_stopped"), [("web", True), ("train_next.1234", True), ("parquet_reader", False)])
def test_unexplained_process_is_stopped_only_if_it_is_one_of_our_programs(name: str, is_stopped: bool) -> None:
    program = unexplained(name)
    assert (program.argv is not None) is is_stopped
    assert not Desired(programs=(program,)).wants(program)
